# shellcheck shell=sh
# The rest of the boot medium as the data disk; tcforge-data reads this.
#
# The image's GPT covers the image and nothing else (src/image/disk/boot.rs): three
# partitions. Here it gets a fourth, up to which the third one grows, so that newer
# images have room, and its copy moves to the end of the disk. The power may fail at
# any time, and a newer image may be written over an old one. So:
#
# - Each write is of one sector, and on the disk before the next.
# - While one copy of the GPT is written, the other is whole.
# - The copy at the end is written first. Its entries without a header say that the
#   file system is being made: whatever is there by then, it is made again. With the
#   header it is there to stay.
# - A newer image brings a GPT without the fourth partition, which is then taken from
#   the copy at the end.

MIB=2048 # sectors
ENTRIES=32
ENTRY=128 # bytes
OURS=$((3 * ENTRY))
WORK=/tmp/tcforge-rest

read_bytes() {
    dd if="$disk" bs=1 skip="$1" count="$2" 2>/dev/null
}

# number AT SIZE: a number of the disk, its low byte first
number() {
    read_bytes "$1" "$2" | od -A n -t "u$2" | tr -d ' '
}

# text AT SIZE: without zeros, so that ASCII in two bytes is ASCII
text() {
    read_bytes "$1" "$2" | tr -d '\000'
}

is_empty() {
    [ "$(text "$1" "$2" | wc -c)" -eq 0 ]
}

# little_endian SIZE NUMBER. Without a program for each byte: there are many.
little_endian() {
    left=$1 value=$2
    while [ "$left" -gt 0 ]; do
        printf %b "\\0$((value >> 6 & 3))$((value >> 3 & 7))$((value & 7))"
        value=$((value >> 8)) left=$((left - 1))
    done
}

zeros() {
    head -c "$1" /dev/zero
}

# As gzip has it at its end.
crc32() {
    gzip -c | tail -c 8 | head -c 4
}

# put SECTOR: writes what comes in there, unless it is there already
put() {
    cat >"$WORK/new" && [ "$(wc -c <"$WORK/new")" -eq 512 ] || return
    dd if="$disk" bs=512 skip="$1" count=1 2>/dev/null >"$WORK/old"
    cmp -s "$WORK/old" "$WORK/new" || dd if="$WORK/new" of="$disk" bs=512 seek="$1" conv=notrunc,fsync 2>/dev/null
}

# The disk that the extensions came from: neither a partition nor a CD.
boot_medium() {
    [ -r /etc/sysconfig/cde ] && read -r cde </etc/sysconfig/cde || return
    device=$(awk -v at="${cde%/cde/optional}" '$2 == at { print $1 }' /proc/mounts)
    about=/sys/class/block/${device#/dev/}
    [ -e "$about/size" ] && [ ! -e "$about/partition" ] && [ "$(cat "$about/ro")" = 0 ] &&
        [ "$(cat "$about/queue/logical_block_size")" = 512 ] && echo "$device"
}

# Whether it has one of these images: ISO 9660 with our name, and a GPT.
is_image() {
    [ "$(text 32769 5)" = CD001 ] && [ "$(text 32808 7)" = TCFORGE ] && has_header 1
}

has_header() {
    [ "$(text $(($1 * 512)) 8)" = 'EFI PART' ]
}

# Sets `disk`, `last` (its last sector) and `image` (sectors of the image).
look_at_medium() {
    disk=$(boot_medium) && is_image || return
    last=$(($(cat "/sys/class/block/${disk#/dev/}/size") - 1))
    image=$(($(number 32848 4) * 4))
}

# has_ours SECTOR: whether our partition is the fourth of the entries there
has_ours() {
    [ "$(text $(($1 * 512 + OURS + 56)) $((ENTRY - 56)))" = "$DATA_LABEL" ]
}

# is_whole SECTOR: whether a file system of ours begins there
is_whole() {
    [ "$(number $(($1 * 512 + 1080)) 2)" = 61267 ] && [ "$(text $(($1 * 512 + 1144)) 16)" = "$DATA_LABEL" ]
}

# take SECTOR: takes our entry from the entries there, and `start`
take() {
    start=$(number $(($1 * 512 + OURS + 32)) 8)
    read_bytes $(($1 * 512 + OURS)) "$ENTRY" >"$WORK/entry"
}

# The partition that was made before, from the first table that has it right.
find_data() {
    start=
    for at in 2 $((last - ENTRIES)); do
        if has_ours "$at" && { [ "$at" = 2 ] || has_header "$last"; }; then
            take "$at"
            ! is_whole "$start" || return 0
        fi
    done
    [ -n "$start" ]
}

# Whether it may be used.
check_data() {
    if [ "$start" -lt "$image" ]; then
        say "the image on $disk was written over the data disk, which began at $((start / MIB)) MiB"
    elif ! is_whole "$start"; then
        say "the partition $DATA_LABEL of $disk has no file system of that name: it stays as it is"
    else
        return 0
    fi
    return 1
}

# A few places from the first sector to the second, in one go.
is_zero_between() {
    step=$((($2 - $1) / 64))
    [ "$step" -gt 8 ] || return 0
    [ "$({
        at=$1
        while [ "$at" -lt "$2" ]; do
            dd if="$disk" bs=512 skip="$at" count=8 2>/dev/null || echo unreadable
            at=$((at + step))
        done
    } | tr -d '\000' | head -c 1 | wc -c)" -eq 0 ]
}

# Whether the image is all that there is: no partition more, in MBR and GPT, and
# nothing behind it.
is_alone() {
    [ "$(number 544 8)" = $((image - 1)) ] && is_empty 478 32 && is_empty $((1024 + OURS)) "$ENTRY" &&
        is_zero "$disk" 3 $((ENTRIES - 1)) && is_zero "$disk" "$image" "$MIB" &&
        is_zero "$disk" "$start" $((2 * MIB)) && is_zero "$disk" $((last + 1 - MIB)) "$MIB" &&
        is_zero_between "$image" "$last"
}

# Our entry: of a Linux file system, 0FC63DAF-8483-4772-8E79-3D69D8477DE4
new_entry() {
    {
        printf '\257\075\306\017\203\204\162\107\216\171\075\151\330\107\175\344'
        # A name by chance: a UUID of version 4.
        head -c 7 /dev/urandom && printf '\101\201' && head -c 7 /dev/urandom
        little_endian 8 "$start"
        little_endian 8 "$end"
        zeros 8
        echo "$DATA_LABEL" | sed 's/./&./g' | tr '.\n' '\000\000'
        zeros "$ENTRY"
    } | head -c "$ENTRY"
}

# The first sector of the entries: the image's, the last of which ends where ours
# begins, and ours. The others are empty.
entries() {
    end_at=$((OURS - ENTRY + 40))
    read_bytes 1024 "$end_at"
    little_endian 8 $((start - 1))
    read_bytes $((1024 + end_at + 8)) $((OURS - end_at - 8))
    cat "$WORK/entry"
}

# header OWN OTHER ENTRIES: a header of the GPT, the rest of it the image's
header() {
    {
        printf 'EFI PART\000\000\001\000\134\000\000\000'
        zeros 8
        little_endian 8 "$1"
        little_endian 8 "$2"
        read_bytes 552 8
        little_endian 8 $((last - ENTRIES - 1))
        read_bytes 568 16
        little_endian 8 "$3"
        read_bytes 592 8
        { entries && zeros $((ENTRIES * 512 - 512)); } | crc32
    } >"$WORK/header"
    head -c 16 "$WORK/header" && crc32 <"$WORK/header" && tail -c +21 "$WORK/header" && zeros 420
}

# The MBR with a GPT on all of the disk.
mbr() {
    read_bytes 0 458
    little_endian 4 $((last > 4294967295 ? 4294967295 : last))
    read_bytes 462 50
}

# Whether both tables know nothing else, so that they may be written.
are_ours() {
    is_zero "$disk" 3 $((ENTRIES - 1)) && is_zero "$disk" $((last - ENTRIES + 1)) $((ENTRIES - 1)) &&
        { has_ours $((last - ENTRIES)) || is_zero "$disk" $((last - ENTRIES)) 1; } &&
        { has_header "$last" || is_zero "$disk" "$last" 1; }
}

write_tables() {
    entries | put $((last - ENTRIES)) && header "$last" 1 $((last - ENTRIES)) | put "$last" &&
        mbr | put 0 && entries | put 2 && header 1 "$last" 2 | put 1 && return
    say "cannot write the partition table of $disk"
    return 1
}

# Whether this file system was being made when the power failed.
is_begun() {
    is_zero "$disk" "$last" 1 && has_ours $((last - ENTRIES)) &&
        [ "$(number $(((last - ENTRIES) * 512 + OURS + 32)) 8)" = "$start" ] &&
        [ "$(number $(((last - ENTRIES) * 512 + OURS + 40)) 8)" = "$end" ]
}

make_data() {
    start=$((DATA_BEGINS * MIB))
    # Blocks of a file system have 4 KiB.
    end=$((start + (last - ENTRIES - start) / 8 * 8 - 1))
    if [ "$image" -gt "$start" ] || [ $((end - start)) -lt $((64 * MIB - 1)) ]; then
        say "$disk has no room for a data disk: it would begin at $DATA_BEGINS MiB, behind the image," \
            "and have 64 MiB at least"
        return 1
    elif is_begun; then
        take $((last - ENTRIES))
    elif is_alone; then
        new_entry >"$WORK/entry"
    else
        say "does not format the rest of $disk: there is more than the image on it"
        return 1
    fi
    if entries | put $((last - ENTRIES)) && format_rest; then
        say "formatted the rest of $disk as the data disk $DATA_LABEL"
    else
        say "could not format the rest of $disk"
        return 1
    fi
}

# Its own device has it as long as the kernel does not know of the partition.
format_rest() {
    loop=$(loop_at "$disk" "$start") || return
    make_file_system "$loop" "$(((end + 1 - start) / 2))k" >/dev/null
    made=$?
    losetup -d "$loop"
    sync
    [ "$made" -eq 0 ] && is_whole "$start"
}

# Makes the rest of the boot medium the data disk, or finds that it is: its device.
rest() {
    mkdir -p "$WORK"
    if ! look_at_medium; then
        say "the boot medium is no disk that one of these images was written to: no data disk is made on it"
        return 1
    elif find_data; then
        check_data || return
        # Its table knows other partitions, too: then it has it anyway.
        ! are_ours || write_tables
    else
        make_data && write_tables
    fi && loop_at "$disk" "$start"
}

# mend DEVICE: what the power or a larger disk left undone of the tables, if the data
# disk DEVICE is on the boot medium
mend() {
    mkdir -p "$WORK"
    look_at_medium && [ "$(whole_disk "$1")" = "$disk" ] && find_data && check_data && are_ours && write_tables
}
