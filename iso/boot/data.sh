#!/bin/sh
# tcforge-data: what has to be there before anybody logs in or anything starts.
# Puts the directories that have to last on the disk with the label
# $DATA_LABEL; without such a disk they stay in memory. Locks known passwords.
#
# Boot codes:
#   tcforge.format=DEVICE  makes a blank disk (vdb) the data disk
#   tcforge.format=rest    makes the rest of the boot medium the data disk
#   tcforge.format=none    makes nothing so, whatever the appliance's file says
#   tcforge.wait=SECONDS   waits so long for the data disk to appear

# shellcheck source=/dev/null
. /usr/share/tcforge/common.sh

MOUNT=/mnt/$DATA_LABEL

# One of the two is there; each reads every disk, and a CD is slow.
find_disk() {
    if command -v findfs >/dev/null; then
        findfs "LABEL=$DATA_LABEL" 2>/dev/null
    else
        blkid -l -o device -t "LABEL=$DATA_LABEL" 2>/dev/null
    fi
}

# Asks until the disk is there, at least once.
wait_for_disk() {
    udevadm settle --timeout=5 2>/dev/null
    left=$(boot_code tcforge.wait) || left=0
    until find_disk; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 1
    done
}

# is_zero DEVICE SECTOR COUNT: whether so many sectors can be read and are empty
is_zero() {
    [ "$({ dd if="$1" bs=512 skip="$2" count="$3" 2>/dev/null || echo unreadable; } |
        tr -d '\000' | head -c 1 | wc -c)" -eq 0 ]
}

# Nothing at the beginning, where file systems and partition tables are, nothing
# at the end, where RAIDs and the copy of a partition table are.
is_blank() {
    name=${1#/dev/}
    for part in "/sys/class/block/$name/$name"*; do
        [ ! -e "$part" ] || return 1
    done
    sectors=$(cat "/sys/class/block/$name/size")
    [ "$sectors" -ge 4096 ] && is_zero "$1" 0 4096 && is_zero "$1" $((sectors - 2048)) 2048
}

# make_file_system DEVICE [SIZE]
make_file_system() {
    if command -v mkfs.ext4 >/dev/null; then
        mkfs.ext4 -q -F -L "$DATA_LABEL" "$@"
    else
        mke2fs -F -L "$DATA_LABEL" "$@"
    fi
}

# The disk of a partition; a disk's is itself.
whole_disk() {
    about=$(readlink -f "/sys/class/block/${1#/dev/}")
    [ ! -e "$about/partition" ] || about=${about%/*}
    echo "/dev/${about##*/}"
}

# loop_at DISK SECTOR: a device that begins there
loop_at() {
    modprobe -q loop 2>/dev/null
    loop=$(losetup -f) || return
    [ -b "$loop" ] || mknod "$loop" b 7 "${loop#/dev/loop}"
    losetup -o $(($2 * 512)) "$loop" "$1" && echo "$loop"
}

# usable DEVICE: a device that can be mounted in its place. A partition cannot be
# while its whole disk is, as that of a booted image.
usable() {
    whole=$(whole_disk "$1")
    if [ "$whole" != "$1" ] && grep -q "^$whole " /proc/mounts; then
        loop_at "$whole" "$(cat "/sys/class/block/${1#/dev/}/start")"
    else
        echo "$1"
    fi
}

# format DEVICE: only what has nothing on it
format() {
    device=/dev/${1#/dev/}
    if [ ! -e "/sys/class/block/${device#/dev/}/size" ]; then
        say "cannot format $device: there is no such disk"
    elif ! is_blank "$device"; then
        say "does not format $device: it is not blank"
    elif ! make_file_system "$device" >/dev/null; then
        say "could not format $device"
    else
        say "formatted $device as the data disk $DATA_LABEL"
        echo "$device"
        return 0
    fi
    return 1
}

# The disk's device, on the output.
disk() {
    format=$(boot_code tcforge.format) || format=$DATA_FORMAT
    # shellcheck source=/dev/null
    [ "$format" != rest ] || . /usr/share/tcforge/rest.sh
    if found=$(wait_for_disk); then
        [ "$format" != rest ] || mend "$found"
        usable "$found"
        return
    fi
    case $format in
    '' | none) return 1 ;;
    rest) rest ;;
    *) format "$format" ;;
    esac
}

mount_disk() {
    # 4 and more: there are errors left.
    if command -v e2fsck >/dev/null && ! { e2fsck -p "$1" >/dev/null || [ $? -lt 4 ]; }; then
        say "the file system of $1 has errors that e2fsck -p does not mend: it is not used"
        return 1
    fi
    mkdir -p "$MOUNT"
    mount -t ext4 "$1" "$MOUNT" || mount "$1" "$MOUNT" || {
        say "cannot mount the data disk $1"
        return 1
    }
}

# keep DIRECTORY: from now on it is the disk's. The first time the disk takes
# what is in it now, whole or not at all.
keep() {
    kept=$MOUNT$1
    mkdir -p "$1" || return
    if [ ! -d "$kept" ]; then
        rm -rf "$kept.new"
        mkdir -p "${kept%/*}" && cp -a "$1" "$kept.new" && sync && mv "$kept.new" "$kept" || return
    fi
    mount -o bind "$kept" "$1"
}

keep_all() {
    for directory in $PERSISTENT; do
        keep "$directory" || say "cannot keep $directory on the data disk: it is in memory"
    done
    say "the data disk keeps $PERSISTENT"
}

# A password that everybody knows is worse than none: Tiny Core's user has an
# empty one, and one that the boot code user= adds has `tcuser`. Neither console
# nor sudo asks for it.
lock_password() {
    user=tc
    [ ! -r /etc/sysconfig/tcuser ] || read -r user </etc/sysconfig/tcuser
    has_boot_flag secure && return
    if [ "$user" = tc ]; then
        sed -i 's/^tc::/tc:*:/' /etc/shadow
    else
        sed -i "s/^tc::/tc:*:/; s/^$user:[^:]*:/$user:*:/" /etc/shadow
    fi
}

lock_password
if [ -n "$PERSISTENT" ]; then
    if device=$(disk) && mount_disk "$device"; then
        keep_all
    else
        say "no data disk: $PERSISTENT are in memory, and what is in them is lost at power-off" \
            "(a disk with the label $DATA_LABEL keeps them; the boot code tcforge.format=DEVICE makes a blank one it, tcforge.format=rest the rest of the boot medium)"
    fi
fi
