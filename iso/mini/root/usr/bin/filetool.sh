#!/bin/sh
# Keeps (-b) what /opt/.filetool.lst names, without what /opt/.xfiletool.lst does,
# in mydata.tgz of the tce directory or of a DIR that is named; -r restores it.

# It lies there in the image only.
# shellcheck disable=SC1091
. /etc/init.d/tc-functions
checkroot
mydata=mydata
if [ -s /etc/sysconfig/mydata ]; then read -r mydata </etc/sysconfig/mydata; fi
folder=${2:-$(readlink /etc/sysconfig/tcedir)}
file=$folder/$mydata.tgz

case $1 in
    -b)
        # Written beside and renamed: a power cut leaves the old one.
        tar -C / -T /opt/.filetool.lst -X /opt/.xfiletool.lst -czf "$file.new" &&
            sync && mv "$file.new" "$file" && sync
        ;;
    -r) tar -C / -xzf "$file" ;;
    *)
        echo "usage: ${0##*/} {-b|-r} [DIR]" >&2
        exit 1
        ;;
esac
