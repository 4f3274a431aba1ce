#!/usr/bin/env bash
# A chain for another machine: an arm64 root of Debian's packages is the seed, and three stages are built in it by qemu-user, a C
# program compiled among them. Without the emulator the message has the remedy.
# Needs root, mmdebstrap, qemu-user-static and binfmt_misc; the entry that it registers is removed again.
#
#   MSTORE=target/release/mstore tests/foreign/run.sh [WORK]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-foreign.XXXXXX)}
export MSTORE_STORE=$work/store
misc=/proc/sys/fs/binfmt_misc
entry=qemu-mstore-aarch64
passed=0
fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { passed=$((passed + 1)); echo "ok: $*"; }
skip() { echo "skipped: $*"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }

[ "$(id -u)" = 0 ] || fail "must run as root"
[ "$(uname -m)" = x86_64 ] || skip "this is no x86-64 machine"
[ -e $misc/register ] || mount -t binfmt_misc binfmt_misc $misc 2> /dev/null || skip "this kernel has no binfmt_misc"
mkdir -p "$work/conf"
chmod 755 "$work"
others=()
cleanup() {
    [ ! -e $misc/$entry ] || echo -1 > $misc/$entry
    for other in "${others[@]}"; do echo 1 > "$other"; done
    rm -rf "$work"
}
trap cleanup EXIT
# What somebody else registered for these programs is switched off meanwhile.
for other in "$misc"/*aarch64*; do
    if [ -e "$other" ] && grep -q ^enabled "$other"; then
        others+=("$other")
        echo 0 > "$other"
    fi
done

# Debian's packages, unpacked and not configured: a shell, a compiler, its headers.
mmdebstrap --quiet --variant=extract --architectures=arm64 --include=dash,coreutils,sed,tcc,libc6-dev,base-files \
    bookworm "$work/seed.tar" 2> "$work/log" || { tail -20 "$work/log" >&2; fail "no root of arm64"; }

cat > "$work/conf/metro.conf" <<'END'
[section list]
builds: demo
arches: arm-64bit
subarches/arm-64bit: generic_64
targets: stage1 stage2 stage3

[section target]
platform: aarch64
version: 1

[collect ./$[target:zap].conf]
END
cat > "$work/conf/stage1.conf" <<'END'
[section source]
seed: arm64

[section steps/chroot]
run: [
#!/bin/dash
set -eu
uname -m > /machine
printf '#include <stdio.h>\nint main(void) { puts("%s"); return 0; }\n' "compiled in stage1" > /tmp/hello.c
tcc -o /usr/bin/hello /tmp/hello.c
]
END
cat > "$work/conf/stage2.conf" <<'END'
[section source]
: stage1

[section steps/chroot]
run: [
#!/bin/dash
hello > /greeting
]
END
cat > "$work/conf/stage3.conf" <<'END'
[section source]
: stage2

[section steps/chroot]
run: [
#!/bin/dash
set -eu
rm /usr/bin/tcc
cat /greeting /machine > /result
]
test: [
#!/bin/dash
set -eu
! command -v tcc
[ "$(hello)" = "compiled in stage1" ]
]
END
m() { "$MSTORE" -f "$work/conf/metro.conf" "$@"; }
m seed import "$work/seed.tar" --name arm64 > /dev/null 2>&1

got=0
m realise stage3-generic_64 > "$work/out" 2> "$work/err" || got=$?
[ "$got" = 3 ] || { cat "$work/err" >&2; fail "exit status without the emulator: $got"; }
grep -q "cannot run programs for aarch64: install qemu-user-static" "$work/err" || { cat "$work/err" >&2; fail "the message has no remedy"; }
m doctor > "$work/out" 2>&1 || true
grep -q "to build for others, such as aarch64: install qemu-user-static" "$work/out" || { cat "$work/out" >&2; fail "doctor has no remedy"; }
ok "without the emulator: the remedy"

# The flag F: the kernel opens the emulator now, and builds need not have it.
magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":$entry:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" > $misc/register
begun=$SECONDS
m realise stage3-generic_64 > "$work/out" 2> "$work/err" || { tail -40 "$work/err" >&2; fail "the chain"; }
[ "$(m store cat stage3-generic_64:result | tr '\n' ' ')" = "compiled in stage1 aarch64 " ] || fail "the result is another one"
m store cat stage3-generic_64:usr/bin/hello > "$work/hello"
[ "$(od -An -tu2 -j18 -N2 "$work/hello" | tr -d ' ')" = 183 ] || fail "the program is not for arm64"
ok "a chain of three stages for arm64, after $((SECONDS - begun)) s"
m realise --check stage3-generic_64 > "$work/out" 2> "$work/err" || { tail -40 "$work/err" >&2; fail "a second build differs"; }
ok "a second build is the same"
m doctor 2>&1 | grep -q "aarch64 by $entry" || fail "doctor does not name the emulator"
ok "doctor names the emulator"
echo "$passed passed, 0 failed"
