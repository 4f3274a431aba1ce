#!/usr/bin/env bash
# Media that start: a small system is exported as a live medium and as a disk, which are read back with the tools that know
# them, and started in qemu (software emulation) up to a login prompt on the serial console. What the started system has
# is compared with the tree, file by file.
# Needs root, qemu, Debian's kernel (fetched by apt-get), grub, busybox-static, xorriso, mtools, dosfstools, fdisk.
#
#   MSTORE=target/release/mstore tests/images/run.sh [WORK]
#   CASES="disk_bios" runs some of it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-images.XXXXXX)}
store=$work/store
seconds=${BOOT_SECONDS:-300}
passed=0

[ "$(id -u)" = 0 ] || { echo "must run as root" >&2; exit 1; }
cleanup() {
    umount "$work/mounted" 2> /dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT
m() { "$MSTORE" --store "$store" "$@"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { passed=$((passed + 1)); echo "ok: $*"; }

# The kernel of Debian, unpacked. Nothing of it is installed.
make_boot() {
    mkdir -p "$work/deb" "$work/boot"
    local package
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -1)
    (cd "$work/deb" && chmod 777 . && apt-get -qq download "$package" > /dev/null)
    dpkg -x "$work"/deb/linux-image-*.deb "$work/boot"
    rm -rf "$work/deb"
}

# A system of busybox alone, with every kind of file.
make_root() {
    local root=$work/root applet
    mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,root,tmp,var/spool,usr/share/odd}
    cp /bin/busybox "$root/bin/busybox"
    for applet in sh getty login ls cat find sort stat readlink sha256sum mount poweroff dmesg stty uname; do
        ln -s busybox "$root/bin/$applet"
    done
    ln -s /bin/busybox "$root/sbin/init"
    cp "$here/look.sh" "$root/bin/look"
    chmod 755 "$root/bin/look"
    printf 'root::0:0:root:/root:/bin/sh\n' > "$root/etc/passwd"
    printf 'root:x:0:\n' > "$root/etc/group"
    printf 'ttyS0::respawn:/bin/getty -L 115200 ttyS0 vt100\n' > "$root/etc/inittab"
    printf 'a small system\n' > "$root/etc/issue"
    chmod 1777 "$root/tmp"
    chmod 700 "$root/root"
    cd "$root/usr/share/odd"
    seq 20000 > file
    ln file again
    ln -s ../odd/file link
    ln -s "$(printf 'y/%.0s' $(seq 60))" long
    mkfifo -m 600 pipe
    mknod -m 660 block b 259 300
    mknod -m 666 null c 1 3
    truncate -s 3M hole && echo end >> hole
    echo x > "name 'with\" odd \\characters"
    echo x > able && setcap cap_net_raw+ep able && chmod 4755 able && setcap cap_net_raw+ep able
    setfattr -n user.note -v kept file
    mkdir -m 2750 owned && chown 1234:70000 owned && echo y > owned/file && chown 70001:5 owned/file
    for applet in $(seq 300); do echo "$applet" > "$root/var/spool/many-$applet"; done
    cd "$root"
    find . -exec touch -h -d @1234567890 {} +
    chown 0:7 "$root" && chmod 751 "$root" && touch -d @1234567891 "$root"
    cd "$work"
}

# What the store has is written out, and listed by the same script as in the machine.
make_list() {
    m export seed/small --to "$work/plain" 2> /dev/null
    chroot "$work/plain" /bin/look > "$work/list"
    [ "$(wc -l < "$work/list")" -gt 330 ] || fail "the list is too short"
}

# boots CASE QEMU-ARGUMENT...: what a machine lists is what the store has.
boots() {
    local case=$1 begun=$SECONDS
    shift
    nice -n 15 python3 "$here/drive.py" "$seconds" look "uname -r" -- "$@" > "$work/told" 2> "$work/said" ||
        { tail -40 "$work/said" >&2; fail "$case: the machine gives no prompt"; }
    sed '$d' "$work/told" > "$work/started"
    diff "$work/list" "$work/started" > "$work/difference" || { head -20 "$work/difference" >&2; fail "$case: the started system differs"; }
    [ "$(tail -1 "$work/told")" = "$(basename "$work"/boot/lib/modules/*)" ] || fail "$case: another kernel runs"
    ok "$case: $(wc -l < "$work/started") files as in the tree, after $((SECONDS - begun)) s"
}

# differs_not FORM: the same bytes at another time, in another zone and locale, with another umask.
differs_not() {
    (umask 077 && cd / && TZ=Asia/Tokyo LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=1 m export seed/small "$work/again.$1" \
        --boot-from "$work/boot" 2> /dev/null)
    cmp "$work/small.$1" "$work/again.$1" || fail "$1: two exports of one tree differ"
    rm "$work/again.$1"
    ok "$1: the same bytes again"
}

tree_of() { m snapshot import "$1" --name back --json 2> /dev/null | sed 's/.*"tree":"\([a-z2-7]*\)".*/\1/'; }

case_iso() {
    m export seed/small "$work/small.iso" --boot-from "$work/boot"
    differs_not iso
    mkdir "$work/medium"
    xorriso -osirrox on -indev "$work/small.iso" -extract / "$work/medium" 2> /dev/null
    unsquashfs -q -n -d "$work/unpacked" "$work/medium/mstore/root.squashfs" > /dev/null
    same "$work/unpacked" iso
    rm -rf "$work/medium" "$work/unpacked"
}

case_disk() {
    m export seed/small "$work/small.disk" --boot-from "$work/boot" --free 16M
    (m export seed/small "$work/again.disk" --boot-from "$work/boot" --free 16M 2> /dev/null)
    cmp "$work/small.disk" "$work/again.disk" || fail "disk: two exports of one tree differ"
    rm "$work/again.disk"
    local start bytes
    read -r start bytes < <(sfdisk -J "$work/small.disk" | python3 -c '
import json, sys
root = json.load(sys.stdin)["partitiontable"]["partitions"][-1]
print(root["start"] * 512, root["size"] * 512)')
    dd if="$work/small.disk" of="$work/root.ext4" bs=1M iflag=skip_bytes,count_bytes skip="$start" count="$bytes" conv=sparse status=none
    e2fsck -fn "$work/root.ext4" > /dev/null 2>&1 || fail "e2fsck finds faults"
    mkdir -p "$work/mounted"
    mount -o loop,ro "$work/root.ext4" "$work/mounted"
    same "$work/mounted" disk
    umount "$work/mounted"
    rm "$work/root.ext4"
}

# same FOLDER FORM: a folder is what the store has, attributes and capabilities among it.
same() {
    (cd "$1" && find . | sort | while IFS= read -r file; do getfattr -h -d -m - "$file"; done) > "$work/attributes"
    (cd "$work/plain" && find . | sort | while IFS= read -r file; do getfattr -h -d -m - "$file"; done) |
        diff - "$work/attributes" > /dev/null || fail "$2: attributes differ"
    chroot "$1" /bin/look | diff "$work/list" - > /dev/null || fail "$2: files differ"
    ok "$2: read back, it is the tree"
}

case_iso_bios() { boots iso_bios -cdrom "$work/small.iso"; }
case_iso_stick() { boots iso_stick -drive "file=$work/small.iso,format=raw,if=virtio,readonly=on"; }
case_iso_uefi() { boots iso_uefi -bios /usr/share/ovmf/OVMF.fd -cdrom "$work/small.iso"; }
case_disk_bios() { boots disk_bios -drive "file=$work/small.disk,format=raw,if=virtio,snapshot=on"; }
case_disk_uefi() { boots disk_uefi -bios /usr/share/ovmf/OVMF.fd -drive "file=$work/small.disk,format=raw,if=virtio,snapshot=on"; }

# Limits that the kernel keeps: a machine of our own has control groups of the second version, whatever this one has. In it a step
# that wants more memory than it may, one that is a bomb of processes and one that fills the disk fail for these reasons; another one
# is built meanwhile.
case_limits() {
    local root=$work/limits library begun=$SECONDS reason
    cp -a "$work/root" "$root"
    mkdir -p "$root/work" "$root/var/lib"
    strip -o "$root/bin/mstore" "$MSTORE"
    for library in $(ldd "$MSTORE" | grep -o '/[^ ]*'); do
        cp --parents -L "$library" "$root"
    done
    for applet in dd grep mkdir mount seq sleep tail; do
        ln -sf busybox "$root/bin/$applet"
    done
    tar -C "$work/root" --exclude=./dev -cf "$root/work/seed.tar" .
    cat > "$root/work/metro.conf" <<'END'
[section list]
builds: demo
arches: x
subarches/x: s
targets: memory bomb disk good

[section target]
platform: x86_64
version: 1

[section source]
seed: small

[section policy/limit]
memory: 64M
processes: 50
disk: 8M

[collect ./$[target:zap].conf]
END
    limited() { printf '[section steps/chroot]\nrun: [\n%s\n]\n' "$2" > "$root/work/$1.conf"; }
    limited memory 'dd if=/dev/zero of=/dev/null bs=96M count=1; sleep 100'
    limited bomb 'b() { b | b & }; b; sleep 100'
    limited disk 'dd if=/dev/zero of=/large bs=1M count=20; sleep 100'
    limited good 'sleep 3; echo x > /x'
    m seed import "$root" --name limits > /dev/null 2>&1
    m export seed/limits "$work/limits.disk" --boot-from "$work/boot" --free 200M 2> /dev/null
    nice -n 15 python3 "$here/drive.py" "$seconds" \
        "mount -t cgroup2 cgroup /sys/fs/cgroup; cd /work; mstore doctor | grep cgroups" \
        "mstore seed import seed.tar --name small" \
        "mstore realise -k memory-s bomb-s disk-s good-s -j 4 > /tmp/out 2>&1; echo status \$?; cat /tmp/out" \
        -- -drive "file=$work/limits.disk,format=raw,if=virtio,snapshot=on" > "$work/told" 2> "$work/said" ||
        { tail -40 "$work/said" >&2; fail "limits: the machine does not answer"; }
    for reason in "limits of memory and processes are kept by the kernel" "used more than 67108864 bytes of memory" \
        "had more than 50 processes" "wrote more than 8388608 bytes to the disk" "built good-s:run" "status 1"; do
        grep -q "$reason" "$work/told" || { cat "$work/told" >&2; fail "limits: not said: $reason"; }
    done
    rm -rf "$root" "$work/limits.disk"
    ok "limits: kept by the kernel of a machine with control groups, after $((SECONDS - begun)) s"
}

make_boot
make_root
m seed import "$work/root" --name small > /dev/null
make_list
for case in ${CASES:-iso disk iso_bios iso_uefi iso_stick disk_bios disk_uefi}; do
    "case_$case"
done
echo "$passed passed, 0 failed"
