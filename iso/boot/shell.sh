#!/bin/sh
# tcforge-shell: a root shell for whoever runs this machine, on the virtio port
# `tcforge.shell`; it needs no network and no login. `tcforge run` and the tests
# give a machine that port; without one this does nothing. It gives away nothing:
# who runs a virtual machine reads and writes all of its memory anyway.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME

find_port() {
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2>/dev/null)" = tcforge.shell ] || continue
        [ -c "/dev/${port##*/}" ] && echo "/dev/${port##*/}" && return
    done
    return 1
}

# Ports appear some time after their driver.
wait_for_port() {
    modprobe -q virtio_console 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        find_port && return
        sleep 1
    done
    return 1
}

port=$(wait_for_port) || exit 0
cd /
exec <>"$port" >&0 2>&1
# It ends when nobody is at the other end, or when it is told to.
while :; do
    /bin/sh
    sleep 1
done
