#!/bin/bash
# Runs a command in an overlay root, without network and with a process list of its own.
#
#   enter.sh WORK LOWER BIND... -- COMMAND...
#
# LOWER are folders as overlayfs wants them, the topmost first; what is written is at WORK/upper. A BIND is SOURCE:PLACE:ro
# or SOURCE:PLACE:rw.
set -euo pipefail
mkdir -p "$1/upper" "$1/work" "$1/root"
exec unshare --mount --net --pid --ipc --uts --fork --kill-child --propagation private bash -euo pipefail -c '
    work=$1 root=$1/root lower=$2; shift 2
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/work,xino=on" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
    mkdir "$root/dev/shm"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    while [ "$1" != -- ]; do
        IFS=: read -r source place how <<< "$1"
        mkdir -p "$root$place"
        mount --bind "$source" "$root$place"
        [ "$how" != ro ] || mount -o remount,bind,ro "$root$place"
        shift
    done
    shift
    hostname host
    ip link set lo up 2> /dev/null || true
    exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TZ=UTC LC_ALL=C.UTF-8 \
        SOURCE_DATE_EPOCH=1700000000 PYTHONDONTWRITEBYTECODE=1 "$@"
' bash "$@"
