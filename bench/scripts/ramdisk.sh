#!/bin/sh
# A fast block device in memory, for measurements where the drive is not the limit.
#
#   ramdisk.sh up SIZE [DIR]   makes it, SIZE such as 8G, and prints the mount point
#   ramdisk.sh down [DIR]      removes it and everything on it
#
# It is a zram device with ext4. Unlike tmpfs it supports O_DIRECT and has counters of its
# own, so the bench can prove a cold run on it. Memory is taken as files are written.
# Linux, root only.
set -eu

usage() {
    sed -n '4,5s/^#   /usage: /p' "$0" >&2
    exit 2
}

fail() {
    echo "ramdisk: $1" >&2
    exit 1
}

# The device mounted at $1, or nothing.
device_at() {
    awk -v at="$1" '$2 == at { device = $1 } END { if (device) print device }' /proc/mounts
}

up() {
    size=$1
    dir=$2
    case $size in
        *[!0-9KMGkmg]* | [!0-9]* | '') fail "'$size' is not a size; give a number of bytes, or one with K, M or G such as 8G" ;;
    esac
    device=$(device_at "$dir")
    case $device in
        /dev/zram*)
            echo "ramdisk: already mounted, $(df -h --output=size,avail "$dir" | tail -1 | awk '{print $1 " with " $2 " free"}')" >&2
            echo "$dir"
            return
            ;;
        ?*) fail "$dir is the mount point of $device; give another directory" ;;
    esac
    command -v mkfs.ext4 >/dev/null || fail "mkfs.ext4 is missing; install e2fsprogs"
    if [ ! -d /sys/class/zram-control ]; then
        modprobe zram num_devices=0 2>/dev/null || modprobe zram 2>/dev/null ||
            fail "this kernel has no zram; load the module zram or use a kernel built with CONFIG_ZRAM"
    fi
    [ -d /sys/class/zram-control ] || fail "this kernel has no zram; use one built with CONFIG_ZRAM"
    [ ! -d "$dir" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty; give another directory"

    id=$(cat /sys/class/zram-control/hot_add) || fail "another zram device cannot be made"
    device=/dev/zram$id
    # If a later step fails, the device is removed.
    trap 'echo "$id" >/sys/class/zram-control/hot_remove 2>/dev/null || true' EXIT
    echo "$size" >"/sys/block/zram$id/disksize" || fail "no zram device of $size can be made; give a smaller size"
    # Without a journal, and with all tables written now, only the bench reads the device later.
    mkfs.ext4 -q -O ^has_journal -E nodiscard,lazy_itable_init=0 -m 0 "$device" ||
        fail "no file system can be made on $device"
    mkdir -p "$dir"
    mount -o noatime "$device" "$dir" || fail "$device cannot be mounted at $dir"
    trap - EXIT
    echo "$dir"
}

down() {
    dir=$1
    device=$(device_at "$dir")
    case $device in
        /dev/zram*) ;;
        '')
            echo "ramdisk: nothing is mounted at $dir" >&2
            return
            ;;
        *) fail "$dir is on $device, which is not a RAM disk; it was not removed" ;;
    esac
    umount "$dir" || fail "$dir is in use; end the programs that use it"
    echo "${device#/dev/zram}" >/sys/class/zram-control/hot_remove ||
        fail "$device cannot be removed; another program has it open"
    rmdir "$dir" 2>/dev/null || true
}

[ $# -ge 1 ] || usage
[ "$(uname)" = Linux ] || fail "zram exists only on Linux"
command=$1
shift
case $command in
    up) [ $# -ge 1 ] && [ $# -le 2 ] || usage ;;
    down) [ $# -le 1 ] || usage ;;
    *) usage ;;
esac
[ "$(id -u)" = 0 ] || fail "only root can make block devices; use sudo"
case $command in
    up) up "$1" "${2:-/mnt/ringtake-ramdisk}" ;;
    down) down "${1:-/mnt/ringtake-ramdisk}" ;;
esac
