#!/bin/sh
# Asks for an address on every network card that has none. In the background, so
# that a slow network does not hold up the boot.

/etc/init.d/hotplug settle 10
for entry in /sys/class/net/eth*; do
    card=${entry##*/}
    [ -e "$entry" ] || continue
    ifconfig "$card" | grep -q 'inet addr' && continue
    udhcpc -b -i "$card" -x "hostname:$(hostname)" -p "/var/run/udhcpc.$card.pid" \
        -s /usr/share/udhcpc/default.script >/dev/null 2>&1 &
done
