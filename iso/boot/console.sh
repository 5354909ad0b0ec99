#!/bin/sh
# tcforge-console TTY: who sits at the machine is logged in without a password,
# as on every Tiny Core (boot code noautologin: not so). getty calls this again,
# as the login program. Tiny Core's own autologin knows tty1 alone.

case ${1:-} in
ttyS*)
    # A port that the kernel has a name for, but the machine no hardware: a getty
    # there would end and be started again without end.
    [ "$(cat "/sys/class/tty/$1/type" 2>/dev/null || echo 0)" != 0 ] || exec sleep 2147483647
    exec /sbin/getty -nl "$0" 115200 "$1"
    ;;
tty*) exec /sbin/getty -nl "$0" 38400 "$1" ;;
*) exec /bin/login -f root ;;
esac
