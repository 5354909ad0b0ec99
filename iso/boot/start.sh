#!/bin/sh
# tcforge-start: starts the services of the appliance, in order, and says on the
# consoles how each came out. Its last line is "tcforge: ready", or "tcforge: not
# ready:" and what failed. Runs in the background: nothing waits for it.
#
# Boot codes:
#   tcforge.timeout=SECONDS  a service's start may take so long

# shellcheck source=/dev/null
. /usr/share/tcforge/common.sh

INIT_D=/usr/local/etc/init.d
LISTS=/etc/tcforge
IMAGES=/usr/local/share/tcforge/images
# Where the extensions lie, which the loader has written down.
CDE=/none
[ ! -r /etc/sysconfig/cde ] || read -r CDE </etc/sysconfig/cde
# MiB, and KiB
ENOUGH_MEMORY=480
ENOUGH_DISK=8192
# Seconds.
START_TIMEOUT=$(boot_code tcforge.timeout) || START_TIMEOUT=900

# is_loaded NAME.tcz: whether the loader has marked it, and its files are there:
# Tiny Core's loader also marks what it could not mount. The first file will do.
is_loaded() {
    [ -e "/usr/local/tce.installed/${1%.tcz}" ] || return
    file=$(grep -v /tce.installed/ "$CDE/$1.list" 2>/dev/null | head -n 1)
    [ -z "$file" ] || [ -e "/${file#/}" ] || [ -L "/${file#/}" ]
}

check_loaded() {
    while read -r name; do
        is_loaded "$name" || fail "the extension $name was not loaded"
    done <"$LISTS/extensions"
}

# Reads all of them, so it is done when there is time, or something has failed.
check_sums() (
    cd "$CDE" 2>/dev/null || return
    for sum in *.tcz.md5.txt; do
        [ ! -r "$sum" ] || md5sum -c "$sum" >/dev/null 2>&1 || say "the extension ${sum%.md5.txt} on the disk is damaged"
    done
)

failed=
fail() {
    say "$1"
    failed="$failed${failed:+, }${2:-$1}"
}

# For the namespaces that no service looks after.
import_images() {
    for file in "$IMAGES"/*/*.tar; do
        [ -r "$file" ] || continue
        namespace=${file%/*}
        namespace=${namespace##*/}
        if ctr -n "$namespace" images import "$file" >/dev/null; then
            say "imported ${file##*/} (namespace $namespace)"
        else
            fail "cannot import $file" "${file##*/}"
        fi
    done
}

# start NAME SETUP MAKES SECRET URL: each of the last four may be `-`
start() {
    if [ "$2" != - ] && [ ! -e "$3" ] && ! sh -c "$2"; then
        fail "the service $1 could not be set up: see /var/log/tcforge.log" "$1"
        return
    fi
    # One that stays in the foreground must not keep the others from starting.
    timeout "$START_TIMEOUT" "$INIT_D/$1" start
    case $? in
    0)
        case $5 in
        -) say "service $1 answers" ;;
        *) say "service $1 answers: $5" ;;
        esac
        [ "$1" != containerd ] || import_images
        ;;
    # What busybox's timeout ends with, and coreutils'.
    143 | 124) fail "service $1 did not start within $START_TIMEOUT seconds: see /var/log/tcforge.log" "$1" ;;
    *) fail "service $1 failed: see /var/log/tcforge.log and /var/log/$1.log" "$1" ;;
    esac
    [ "$4" = - ] || [ ! -e "$4" ] || say "the password for $1 is in $4"
}

# What listens beyond loopback and is not meant to.
check_ports() {
    netstat -lntu 2>/dev/null | awk '/^(tcp|udp)/ { print substr($1, 1, 3), $4 }' | sort -u |
        while read -r protocol address; do
            port=$protocol/${address##*:}
            case $address in 127.* | ::1:* | ::ffff:127.*) continue ;; esac
            case " $LISTEN " in *" $port "*) continue ;; esac
            say "warning: $port is open to the network ($address), which the appliance does not mean"
        done
}

# Told and not refused: a box may be made for so little.
check_room() {
    while read -r key memory _; do
        [ "$key" != MemTotal: ] || break
    done </proc/meminfo
    memory=$((memory / 1024))
    [ "$memory" -ge "$ENOUGH_MEMORY" ] ||
        say "warning: the machine has $memory MiB of memory; containers want $ENOUGH_MEMORY or more," \
            "and what does not fit is killed"
    ! grep -qF " /mnt/$DATA_LABEL " /proc/mounts || check_disk
}

check_disk() {
    free=$(df -k | awk -v place="/mnt/$DATA_LABEL" '$6 == place { print $4 }')
    [ "${free:-$ENOUGH_DISK}" -ge "$ENOUGH_DISK" ] ||
        say "warning: the data disk is full ($free KiB are left): remove something from it, or make it larger"
}

check_room
while IFS="$(printf '\t')" read -r name setup makes secret url; do
    start "$name" "$setup" "$makes" "$secret" "$url" </dev/null
done <"$LISTS/services"
check_loaded
check_ports
if [ -z "$failed" ]; then
    say "ready"
    check_sums
else
    # A damaged extension may be why.
    check_sums
    say "not ready: $failed"
fi
