#!/bin/sh
# put other system startup commands here
/usr/sbin/tcforge-start </dev/null >>/var/log/tcforge.log 2>&1 &
