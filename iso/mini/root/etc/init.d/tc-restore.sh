#!/bin/sh
# Restores what filetool.sh kept: from restore=DEV[/DIR], or from the tce
# directory.

# It lies there in the image only.
# shellcheck disable=SC1091
. /etc/init.d/tc-functions

read -r mydata </etc/sysconfig/mydata
folder=$(readlink /etc/sysconfig/tcedir)
if from=$(getbootparam restore); then
    part=${from%%/*} below=
    case $from in
        */*) below=/${from#*/} ;;
    esac
    if place=$(mounted "$(device "$part")"); then
        folder=$place$below
    else
        echo "restore=$from: there is no such file system"
    fi
fi
# A tce directory in memory keeps nothing.
if [ "$folder" != /tmp/tce ]; then echo "${folder#/mnt/}" >/etc/sysconfig/backup_device; fi
if [ -f "$folder/$mydata.tgz" ]; then
    filetool.sh -r "$folder"
fi
exit 0
