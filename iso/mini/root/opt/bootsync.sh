#!/bin/sh
# Commands of yours that the boot waits for; others belong in bootlocal.sh.
/opt/bootlocal.sh &
