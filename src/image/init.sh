#!/bin/busybox sh
# The first program that runs: finds the medium or the disk that the system is on, and enters it.
/bin/busybox mkdir -p /bin /proc /sys /dev /medium /lower /upper /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec < /dev/console > /dev/console 2>&1

init= root= live= how=ro wait=60
for word in $(cat /proc/cmdline); do
    case $word in
        init=*) init=${word#init=} ;;
        root=UUID=*) root=${word#root=} ;;
        mstore.live=*) live=${word#mstore.live=} ;;
        mstore.wait=*) wait=${word#mstore.wait=} ;;
        ro | rw) how=$word ;;
    esac
done

# Which of them this machine needs nobody knows yet.
while read -r module; do
    insmod "/modules/$module" 2> /dev/null
done < /modules/order

stop() {
    echo "mstore: $*; this is a shell in the first root" >&2
    exec setsid cttyhack sh
}

find_live() {
    for device in /sys/class/block/*; do
        device=/dev/${device##*/}
        [ -b "$device" ] && mount -t iso9660 -o ro "$device" /medium 2> /dev/null || continue
        [ ! -f "/medium/mstore/$live" ] || return 0
        umount /medium
    done
    return 1
}

find_disk() {
    device=$(findfs "$root" 2> /dev/null) && [ -b "$device" ]
}

look() {
    for second in $(seq "$wait"); do
        ! "$1" || return 0
        sleep 1
    done
    return 1
}

if [ -n "$live" ]; then
    look find_live || stop "no medium has mstore/$live"
    mount -t squashfs -o ro,loop /medium/mstore/root.squashfs /lower || stop "the system on the medium cannot be mounted"
    mount -t tmpfs -o mode=0755 upper /upper
    mkdir /upper/files /upper/work
    # The root of an overlay looks as its upper folder does.
    chmod "$(stat -c %a /lower)" /upper/files
    chown "$(stat -c %u:%g /lower)" /upper/files
    mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root || stop "the overlay cannot be mounted"
    touch -r /lower /root
else
    look find_disk || stop "no disk has $root"
    mount -t ext4 -o "$how" "$device" /root || stop "$device cannot be mounted"
fi

if [ -z "$init" ]; then
    for init in /sbin/init /usr/lib/systemd/systemd /lib/systemd/systemd /bin/init /bin/sh; do
        [ ! -x "/root$init" ] && [ ! -L "/root$init" ] || break
    done
fi
for folder in proc sys dev; do
    if [ -d "/root/$folder" ]; then
        mount -o move "/$folder" "/root/$folder"
    else
        umount -l "/$folder"
    fi
done
exec switch_root /root "$init"
