#!/bin/sh
# Common to tcforge-data and tcforge-start, which read it.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

# Made with the image: APPLIANCE, DATA_LABEL, PERSISTENT, LISTEN.
# shellcheck source=/dev/null
. /etc/tcforge/appliance

# One line for everybody: on each of the kernel's consoles, and in the log.
say() {
    echo "tcforge: $*" >>/var/log/tcforge.log
    for console in $(cat /sys/class/tty/console/active 2>/dev/null || echo console); do
        # A console may have no hardware behind it.
        echo "tcforge: $*" 2>/dev/null >"/dev/$console" || :
    done
}

# boot_code NAME: the value of NAME=VALUE on the kernel's command line.
boot_code() (
    # The last one counts.
    value=
    # shellcheck disable=SC2013 # words are wanted
    for word in $(cat /proc/cmdline); do
        case $word in "$1"=*) value=${word#*=} ;; esac
    done
    [ -n "$value" ] && echo "$value"
)

has_boot_flag() {
    grep -qw -- "$1" /proc/cmdline
}
