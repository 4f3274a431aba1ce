#!/usr/bin/env bash
# Media that start: a small system is exported as a live medium and as a disk, which are read back with the tools that know
# them, and started in qemu (software emulation) up to a login prompt on the serial console. What the started system has
# is compared with the tree, file by file.
# Needs root, qemu, Debian's kernel (fetched by apt-get), grub, busybox-static, xorriso, mtools, dosfstools, fdisk.
#
#   MSTORE=target/release/mstore tests/images/run.sh [WORK]
#   CASES="disk disk_bios" runs some of it; iso_bios and disk_bios run only so: the page's media start that way
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-images.XXXXXX)}
store=$work/store
seconds=${BOOT_SECONDS:-600}
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

# What a medium has that its tree has not. A machine that is emulated beside others gets no time for the kernel to try a timer.
boot=(--boot-from "$work/boot" --append no_timer_check)
# What is said to a shell to get a list of all files.
look=$(grep -v '^#' "$here/look.sh" | paste -sd ';')

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
    for applet in sh getty login ls cat find sort stat xargs md5sum mount poweroff dmesg stty uname; do
        ln -s busybox "$root/bin/$applet"
    done
    ln -s /bin/busybox "$root/sbin/init"
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

# list FOLDER: the files of a root, listed by its own programs, as in the machine.
list() { chroot "$1" /bin/sh -c "$look"; }

# What the store has is written out.
make_list() {
    m export seed/small --to "$work/plain" 2> /dev/null
    list "$work/plain" > "$work/list"
    [ "$(wc -l < "$work/list")" -gt 330 ] || fail "the list is too short"
}

# boots CASE LIST PATTERN QEMU-ARGUMENT...: what a machine lists is what the store has, but for lines of PATTERN.
boots() {
    local case=$1 list=$work/$2 but=$3 begun=$SECONDS
    shift 3
    nice -n 15 python3 "$here/drive.py" "$seconds" "$look" "uname -r" -- "$@" > "$work/told" 2> "$work/said" ||
        { tail -40 "$work/said" >&2; fail "$case: the machine gives no prompt"; }
    sed '$d' "$work/told" > "$work/started"
    diff <(grep -v "$but" "$list") <(grep -v "$but" "$work/started") > "$work/difference" || { head -20 "$work/difference" >&2; fail "$case: the started system differs"; }
    [ "$(tail -1 "$work/told")" = "$(basename "$work"/boot/lib/modules/*)" ] || fail "$case: another kernel runs"
    ok "$case: $(grep -c . "$work/started") lines of a list as of the tree, after $((SECONDS - begun)) s"
}

# differs_not FORM: the same bytes at another time, in another zone and locale, with another umask.
differs_not() {
    (umask 077 && cd / && TZ=Asia/Tokyo LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=1 m export seed/small "$work/again.$1" \
        "${boot[@]}" 2> /dev/null)
    cmp "$work/small.$1" "$work/again.$1" || fail "$1: two exports of one tree differ"
    rm "$work/again.$1"
    ok "$1: the same bytes again"
}

tree_of() { m snapshot import "$1" --name back --json 2> /dev/null | sed 's/.*"tree":"\([a-z2-7]*\)".*/\1/'; }

case_iso() {
    m export seed/small "$work/small.iso" "${boot[@]}"
    differs_not iso
    mkdir "$work/medium"
    xorriso -osirrox on -indev "$work/small.iso" -extract / "$work/medium" 2> /dev/null
    unsquashfs -q -n -d "$work/unpacked" "$work/medium/mstore/root.squashfs" > /dev/null
    same "$work/unpacked" iso
    rm -rf "$work/medium" "$work/unpacked"
}

case_disk() {
    m export seed/small "$work/small.disk" "${boot[@]}" --free 16M
    (m export seed/small "$work/again.disk" "${boot[@]}" --free 16M 2> /dev/null)
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
    list "$1" | diff "$work/list" - > /dev/null || fail "$2: files differ"
    ok "$2: read back, it is the tree"
}

case_iso_bios() { boots iso_bios list '^$' -cdrom "$work/small.iso"; }
case_iso_stick() { boots iso_stick list '^$' -drive "file=$work/small.iso,format=raw,if=virtio,readonly=on"; }
case_iso_uefi() { boots iso_uefi list '^$' -bios /usr/share/ovmf/OVMF.fd -cdrom "$work/small.iso"; }
case_disk_bios() { boots disk_bios list '^$' -drive "file=$work/small.disk,format=raw,if=virtio,snapshot=on"; }
case_disk_uefi() { boots disk_uefi list '^$' -bios /usr/share/ovmf/OVMF.fd -drive "file=$work/small.disk,format=raw,if=virtio,snapshot=on"; }

# direct DISK: what the boot loader of a disk would start is started by qemu itself. The loader is tried elsewhere.
direct() {
    local parts=$work/direct
    rm -rf "$parts"
    mkdir "$parts"
    # Behind the first two MiB lies the partition of the boot loader's files.
    mcopy -n -i "$1@@2M" ::/boot/vmlinuz ::/boot/initrd ::/boot/grub/grub.cfg "$parts"
    machine=(-kernel "$parts/vmlinuz" -initrd "$parts/initrd" -append "$(sed -n 's/^ *linux [^ ]* //p' "$parts/grub.cfg")"
        -drive "file=$1,format=raw,if=virtio,snapshot=on")
}

# Limits that the kernel keeps: a machine of our own has control groups of the second version, whatever this one has. In it a step
# that wants more memory than it may, one that is a bomb of processes and one that fills the disk fail for these reasons; another one
# is built meanwhile. Before, the machine has no control groups, then those of the first version: doctor tells, with the remedy.
case_limits() {
    local root=$work/limits seed=$work/limits-seed library applet begun=$SECONDS reason
    mkdir -p "$root"/{work,var/lib,lib64} "$seed"/{bin,dev,proc,sys,tmp}
    cp -a "$work"/root/{bin,sbin,etc,proc,sys,dev,root,tmp} "$root"
    strip -o "$root/bin/mstore" "$MSTORE"
    for library in $(ldd "$MSTORE" | grep -o '/[^ ]*'); do
        cp --parents -L "$library" "$root"
    done
    for applet in grep mkdir umount; do ln -sf busybox "$root/bin/$applet"; done
    cp /bin/busybox "$seed/bin"
    for applet in dd sh sleep; do ln -s busybox "$seed/bin/$applet"; done
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
    limited memory 'dd if=/dev/zero of=/dev/null bs=96M count=1; sleep 1000'
    limited bomb 'b() { b | b & }; b; sleep 1000'
    limited disk 'dd if=/dev/zero of=/large bs=1M; sleep 1000'
    limited good 'sleep 3; echo x > /x'
    # The machine has little to do: what it builds in is in its store.
    "$MSTORE" --store "$root/var/lib/mstore" -f "$root/work/metro.conf" seed import "$seed" --name small > /dev/null 2>&1
    m seed import "$root" --name limits > /dev/null 2>&1
    m export seed/limits "$work/limits.disk" "${boot[@]}" --free 1G 2> /dev/null
    direct "$work/limits.disk"
    nice -n 15 python3 "$here/drive.py" "$seconds" \
        "cd /work; mstore doctor | grep -A 1 cgroups" \
        "mount -t tmpfs x /sys/fs/cgroup; mkdir /sys/fs/cgroup/m; mount -t cgroup -o memory,pids x /sys/fs/cgroup/m; mstore doctor | grep -A 1 cgroups" \
        "umount /sys/fs/cgroup/m; umount /sys/fs/cgroup; mount -t cgroup2 x /sys/fs/cgroup; mstore doctor | grep cgroups" \
        "mstore realise -k memory-s bomb-s disk-s good-s -j 4 > /tmp/out 2>&1; echo status \$?; cat /tmp/out" \
        -- "${machine[@]}" > "$work/told" 2> "$work/said" ||
        { tail -40 "$work/said" >&2; fail "limits: the machine does not answer"; }
    for reason in "this machine has no control groups: " "to change it: for limits that the kernel keeps: mount -t cgroup2" \
        "of the first version" "systemd.unified_cgroup_hierarchy=1" \
        "limits of memory and processes are kept by the kernel" "memory-s:run failed: used more than 67108864 bytes of memory" \
        "bomb-s:run failed: had more than 50 processes" "disk-s:run failed: wrote more than 8388608 bytes to the disk" \
        "built good-s:run" "status 1"; do
        grep -qF -- "$reason" "$work/told" || { cat "$work/told" >&2; fail "limits: not said: $reason"; }
    done
    rm -rf "$root" "$seed" "$work/limits.disk"
    ok "limits: kept by the kernel of a machine with control groups, after $((SECONDS - begun)) s"
}

# The commands of doc/images.md, as they stand there: a stage of the standard specifications, its programs compiled in a chain of three
# stages on this machine, starts with Debian's kernel, and its own init, getty and login answer.
case_page() {
    local command commands=0 begun=$SECONDS
    mkdir -p "$work/page/bin"
    ln -s "$MSTORE" "$work/page/bin/mstore"
    cd "$work/page"
    export PATH=$work/page/bin:$PATH MSTORE_STORE=$store
    # Downloads are made by a user who has to reach the folder.
    chmod 755 "$work"
    while IFS= read -r -u 3 command; do
        commands=$((commands + 1))
        case $command in
            qemu-system-x86_64\ *)
                # What a running system writes: its log.
                eval "boots page_$commands list.page '\./var/log' $command" ;;
            *)
                eval "$command" > "$work/said" 2>&1 || { tail -40 "$work/said" >&2; fail "page: $command"; }
                case $command in
                    *" realise "*) ok "page: $command, after $((SECONDS - begun)) s" ;;
                    *".iso --boot-from boot"*)
                        m export stage3-generic_64 --to "$work/stage" 2> /dev/null
                        # Its xargs needs it; what lies in that folder is not compared.
                        mknod -m 666 "$work/stage/dev/null" c 1 3
                        list "$work/stage" > "$work/list.page"
                        rm -rf "$work/stage" ;;
                esac ;;
        esac
    done 3< <(sed -n "/^So a stage without a kernel/,/^Both end/s/^    \\$ //p" "$here/../../doc/images.md" |
        # A machine that is emulated beside others: see there.
        sed 's/ --boot-from boot/& --append no_timer_check/')
    [ "$commands" = 8 ] || fail "page: $commands commands"
    cd "$work"
}

make_boot
make_root
m seed import "$work/root" --name small > /dev/null
make_list
for case in ${CASES:-iso disk iso_uefi iso_stick disk_uefi page limits}; do
    "case_$case"
done
echo "$passed passed, 0 failed"
