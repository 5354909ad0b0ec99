#!/bin/sh
# {{ name }}: the container runtime's daemon ({{ extension }} {{ version }}).
# Brings up first what Tiny Core lacks: /lib64, cgroups, modules, forwarding.
{## Values of the recipe (`with`), all optional:
  modules       kernel modules to load
  args          further arguments of containerd
  timeout       seconds that it may take to answer (120)
  stop_timeout  seconds that it may take to end (30) ##}

{% include "lib/service.sh" %}

PROGRAMS="containerd ctr containerd-shim-runc-v2 runc"
ANSWER="ctr version"
CONFIG=/etc/containerd/config.toml
{% set modules = with.modules | default(["overlay", "bridge", "veth", "br_netfilter", "iptable_nat",
    "iptable_filter", "xt_comment", "xt_conntrack", "xt_MASQUERADE", "xt_addrtype", "nf_conntrack"]) %}
MODULES="{{ modules | join(" ") }}"

answers() {
    containerd_answers
}

# Dynamically linked programs that were made elsewhere ask for their loader
# under /lib64; Tiny Core keeps it in /lib.
link_lib64() {
    [ -e /lib64 ] || [ -L /lib64 ] || ln -s lib /lib64
}

# A module may be built into the kernel, so that one that cannot be loaded is
# worth a word and no more.
load_modules() {
    # One program for all takes a fraction of the time.
    # shellcheck disable=SC2086 # a list
    ! modprobe -a $MODULES 2>/dev/null || return 0
    missing=
    for module in $MODULES; do
        modprobe "$module" 2>/dev/null || [ -d "/sys/module/$module" ] || missing="$missing $module"
    done
    [ -z "$missing" ] ||
        say "modules not loaded:$missing (no matter where the kernel has them built in)"
}

check_overlay() {
    grep -qw overlay /proc/filesystems ||
        warn "this kernel has no overlay file system: containers start with --snapshotter native alone"
}

# Both are large and lie compressed on a slow disk: they are read while the rest
# is prepared.
read_ahead() {
    (exec </dev/null >/dev/null 2>&1 && cat "$(command -v containerd)" "$(command -v ctr)") &
}

# is_mounted TYPE DIRECTORY
is_mounted() (
    while read -r _ directory type _; do
        [ "$type $directory" != "$1 $2" ] || return 0
    done </proc/mounts
    return 1
)

# Sets `mounted` to the controllers that are, alone or together with others,
# anywhere: `,cpu,cpuacct,`. Among them are words that are none.
find_mounted() {
    mounted=,
    while read -r _ _ type options _; do
        [ "$type" != cgroup ] || mounted=$mounted$options,
    done </proc/mounts
}

# Prints what is missing in a directory as lines of /etc/fstab, and sets
# `directories` to where it goes.
list_missing() {
    find_mounted
    directories=
    while read -r controller _ _ enabled; do
        case $enabled$mounted in
        *",$controller,"*) continue ;;
        1*) ;;
        *) continue ;;
        esac
        echo "cgroup $1/$controller cgroup $controller"
        directories="$directories $1/$controller"
    done </proc/cgroups
}

mount_cgroups() {
    root=/sys/fs/cgroup
    if ! [ -d "$root" ] || ! [ -r /proc/cgroups ]; then
        warn "this kernel has no control groups: containers will not start"
        return 0
    fi
    # One tree for all (cgroup v2) needs nothing else.
    ! is_mounted cgroup2 "$root" || return 0
    is_mounted tmpfs "$root" || mount -t tmpfs -o mode=755 cgroup "$root" ||
        warn "cannot mount a tmpfs on $root"
    table=/var/run/$NAME.cgroups
    list_missing "$root" >"$table"
    # One program for all: starting one takes longer than mounting.
    # shellcheck disable=SC2086 # a list
    [ -z "$directories" ] || { mkdir -p $directories && mount -a -T "$table"; } || tell_missing <"$table"
    rm -f "$table"
}

# What could not be mounted leaves no directory that looks as if it were.
tell_missing() {
    find_mounted
    while read -r _ directory _ controller; do
        case $mounted in *",$controller,"*) continue ;; esac
        warn "cannot mount the control group $controller"
        rmdir "$directory"
    done
}

forward() {
    for switch in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/forwarding; do
        value=
        [ ! -r "$switch" ] || read -r value <"$switch"
        [ "$value" = 1 ] || echo 1 2>/dev/null >"$switch" ||
            warn "cannot set $switch: functions will reach no network"
    done
}

# Nothing can pivot away from the kernel's first root, so no container starts there.
check_root() {
    # The last one counts.
    root_type=
    while read -r _ directory type _; do
        [ "$directory" != / ] || root_type=$type
    done </proc/mounts
    [ "$root_type" != rootfs ] ||
        warn "the root is the initial ramdisk: boot with noembed, or no container starts"
}

prepare() {
    read_ahead
    link_lib64
    load_modules
    check_overlay
    mount_cgroups
    forward
    check_root
    remove_dead_socket "$CONTAINERD_SOCKET"
{% for path in persistent %}
    mkdir -p {{ path | sh }}
{% endfor %}
}

run() {
    # shellcheck disable=SC3045 # ash has it
    ulimit -n 1048576 2>/dev/null || ulimit -n 65536 2>/dev/null || :
    set --{% for arg in with.args | default([]) %} {{ arg | sh }}{% endfor +%}
    [ ! -e "$CONFIG" ] || set -- --config "$CONFIG" "$@"
    exec setsid containerd "$@"
}

service "$@"
