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

# above TEXT: what shows it above the line that the cursor is in, so that what
# somebody types there stays whole, and goes on where it was. In one piece, for a
# shell writes, too. Terminals say what 80 columns do not hold on further lines.
above() {
    rows=$(((${#1} + 79) / 80))
    room=
    while [ ${#room} -lt "$rows" ]; do
        room="$room
"
    done
    # Keep the place, make room below and go there from above: the line moves down.
    printf '\033%d%s\033[%dA\r\033[%dL%s\r\n\033%d\033[%dB' \
        7 "$room" "$rows" "$rows" "$1" 8 "$rows"
}

# One line for everybody: on each of the kernel's consoles, and in the log.
say() {
    echo "tcforge: $*" >>/var/log/tcforge.log
    consoles=console
    [ ! -r /sys/class/tty/console/active ] || read -r consoles </sys/class/tty/console/active
    for console in $consoles; do
        # A console may have no hardware behind it.
        above "tcforge: $*" 2>/dev/null >"/dev/$console" || :
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
