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

# Packs a copy: Debian's tar knows no lists of what to leave out.
backup() {
    copy=$(mktemp -d) || return
    while read -r name; do
        mkdir -p "$copy/$(dirname "$name")"
        cp -a "/$name" "$copy/$(dirname "$name")/"
    done </opt/.filetool.lst
    while read -r name; do
        find "$copy" -depth -name "$name" -exec rm -rf {} +
    done </opt/.xfiletool.lst
    # Written beside and renamed: a power cut leaves the old one.
    (cd "$copy" && tar -czf "$file.new" ./*) && sync && mv "$file.new" "$file" && sync
    status=$?
    rm -rf "$copy"
    return $status
}

case $1 in
    -b) backup ;;
    -r) tar -C / -xzf "$file" ;;
    *)
        echo "usage: ${0##*/} {-b|-r} [DIR]" >&2
        exit 1
        ;;
esac
