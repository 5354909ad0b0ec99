#!/bin/sh
# Says what each file system makes of attributes and ACLs, by the calls that fail
# where a kernel has no such thing. Runs as root in the box; needs attr.tcz.
#
# A line for each:
#   FS NAME: BEFORE, RESULT
# BEFORE is what getxattr says of a file without the attribute, and RESULT what came
# of setting it: `kept` if the same value is read back. `readers` are the users who
# can read a file of mode 600 before and after an ACL lets tc do so. `copied up` is
# what an overlay's upper directory has of a file of the lower one.
set -u

# cap_net_raw+ep, as setcap writes it (revision 2)
CAPABILITY=0x0100000200200000000000000000000000000000
# user::rw- user:tc:r-- group::--- mask::r-- other::---, as setfacl writes it
ACL=0x0200000001000600ffffffff02000400e903000004000000ffffffff10000400ffffffff20000000ffffffff
NOTE=0x6e6f7465

fail() {
    echo "$*" >&2
    exit 1
}

# get FILE NAME: the value, or why there is none
get() {
    if said=$(getfattr --absolute-names -e hex -n "$2" "$1" 2>&1); then
        echo "$said" | sed -n "s/^$2=//p"
    else
        echo "${said##*: }"
    fi
}

# put FILE NAME VALUE: says why it could not
put() {
    said=$(setfattr -n "$2" -v "$3" "$1" 2>&1) && return
    echo "${said##*: }"
    return 1
}

# try FS FILE NAME VALUE
try() {
    before=$(get "$2" "$3")
    if result=$(put "$2" "$3" "$4"); then
        result=$(get "$2" "$3")
        [ "$result" != "$4" ] || result=kept
    fi
    echo "$1 $3: $before, $result"
}

# who_reads FILE: the users who can
who_reads() {
    for user in tc nobody; do
        if su -s /bin/sh "$user" -c "cat '$1'" >/dev/null 2>&1; then printf ' %s' "$user"; fi
    done
}

# look FS DIRECTORY: at a file and at a directory in it
look() {
    echo secret >"$2/file"
    chmod 600 "$2/file"
    mkdir "$2/directory"
    try "$1" "$2/file" user.note "$NOTE"
    try "$1" "$2/file" trusted.note "$NOTE"
    try "$1" "$2/file" security.capability "$CAPABILITY"
    earlier=$(who_reads "$2/file")
    try "$1" "$2/file" system.posix_acl_access "$ACL"
    later=$(who_reads "$2/file")
    echo "$1 readers besides root:${earlier:- none},${later:- none}"
    try "$1" "$2/directory" system.posix_acl_default "$ACL"
}

# overlay FS DIRECTORY: with all of its layers there
overlay() {
    mkdir "$2/lower" "$2/upper" "$2/work" "$2/merged"
    echo below >"$2/lower/old"
    for pair in "user.note $NOTE" "trusted.note $NOTE" \
        "security.capability $CAPABILITY" "system.posix_acl_access $ACL"; do
        put "$2/lower/old" "${pair% *}" "${pair#* }" >/dev/null
    done
    if ! said=$(mount -t overlay -o "lowerdir=$2/lower,upperdir=$2/upper,workdir=$2/work" overlay "$2/merged" 2>&1); then
        echo "overlay/$1: ${said##*: }"
        return
    fi
    look "overlay/$1" "$2/merged"
    # What changes is copied up, with its attributes: its time, because a new
    # content or owner takes the capability away on every file system.
    touch "$2/merged/old"
    for name in user.note trusted.note security.capability system.posix_acl_access; do
        echo "overlay/$1 copied up $name: $(get "$2/upper/old" "$name")"
    done
    umount "$2/merged"
}

modprobe -q overlay
place=/tmp/attributes
mkdir "$place"
chmod 755 "$place"
for type in ext2 ext3 ext4 tmpfs; do
    mkdir "$place/$type"
    case $type in
    tmpfs) mount -t tmpfs -o mode=755 tmpfs "$place/$type" ;;
    *)
        dd if=/dev/zero of="$place/$type.img" bs=1M count=16 2>/dev/null
        "mkfs.$type" -q -F "$place/$type.img" || fail "cannot make an $type"
        mount -t "$type" -o loop "$place/$type.img" "$place/$type"
        ;;
    esac || fail "cannot mount an $type"
    grep -q " $place/$type $type " /proc/mounts || fail "it is not an $type"
    mkdir "$place/$type/plain" "$place/$type/layers"
    look "$type" "$place/$type/plain"
    overlay "$type" "$place/$type/layers"
    umount "$place/$type"
done
rm -r "$place"
