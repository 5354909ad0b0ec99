#!/bin/sh
# put other system startup commands here, the boot process will wait until they complete.
# Use bootlocal.sh for system startup commands that can run in the background
# and therefore not slow down the boot process.
# shellcheck source=/dev/null
. /etc/tcforge/appliance
if [ -x /usr/bin/sethostname ]; then
    /usr/bin/sethostname "$APPLIANCE"
else
    hostname "$APPLIANCE"
fi
/usr/sbin/tcforge-shell </dev/null >/dev/null 2>&1 &
/usr/sbin/tcforge-data
/opt/bootlocal.sh &
