#!/bin/sh
# Common to tcforge-data and tcforge-start, which read it.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

# Made with the image: APPLIANCE, DATA_LABEL, DATA_BEGINS (MiB), DATA_FORMAT,
# PERSISTENT, LISTEN.
# shellcheck source=/dev/null
. /etc/tcforge/appliance

read -r CMDLINE </proc/cmdline

# One line for everybody: on each of the kernel's consoles, and in the log.
say() {
    echo "tcforge: $*" >>/var/log/tcforge.log
    consoles=console
    [ ! -r /sys/class/tty/console/active ] || read -r consoles </sys/class/tty/console/active
    for console in $consoles; do
        # A console may have no hardware behind it.
        echo "tcforge: $*" 2>/dev/null >"/dev/$console" || :
    done
}

# boot_code NAME: the value of NAME=VALUE on the kernel's command line.
boot_code() (
    # The last one counts.
    value=
    for word in $CMDLINE; do
        case $word in "$1"=*) value=${word#*=} ;; esac
    done
    [ -n "$value" ] && echo "$value"
)

has_boot_flag() {
    case " $CMDLINE " in *" $1 "*) ;; *) return 1 ;; esac
}
