#!/usr/bin/env bash
# A ports tree of real programs: built from Debian's sources in a Debian base, each of them run in a test.
# Needs root, mmdebstrap and apt's own configuration; asks for nothing else. Takes four minutes on two processors.
#
#   MSTORE=target/release/mstore tests/ports/run.sh [WORK]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-ports.XXXXXX)}
chmod 755 "$work"
. "$here/../real/lib/assert.sh"
. "$here/lib.sh"
[ "$(id -u)" = 0 ] || fail "must run as root"
given=$#
cleanup() { [ "$given" -gt 0 ] || [ -n "${KEEP:-}" ] || rm -rf "$work"; }
trap cleanup EXIT

section "input"
make_base "$work/base.tar" gcc,libc6-dev,make,patch,xz-utils,bzip2
apt_sources
rm -rf "$work/tree"
cp -R "$here/real" "$work/tree"
distinfo "$work/tree"
ports=$(ls "$work"/tree/*/*/port.spec | wc -l)
[ "$ports" -ge 20 ] || fail "the sources of $ports ports arrived, 20 are wanted"
ok "sources of $ports ports"
: > "$work/mstore.conf"
m() { "$MSTORE" --store "$work/store" --config "$work/mstore.conf" --ports-tree "$work/tree" "$@"; }
run m seed import "$work/base.tar" --name debian-ports

section "all ports, two flavors, every test"
began=$SECONDS
status 0 m realise --keep-going '*/*:test' sysutils/tree,static:test shells/dash,static:test > "$work/out" 2> "$work/err" ||
    { grep -v '^build' "$work/err" >&2; exit 1; }
cut -d ' ' -f 1 "$work/out"
equal "ports that were tested" "$(wc -l < "$work/out")" "$((ports + 2))"
took=$((SECONDS - began))
echo "$took s"

section "nothing to do"
m realise '*/*' sysutils/tree,static > "$work/out" 2> "$work/err"
grep -q 'nothing to do' "$work/err" || fail "something was built: $(cat "$work/err")"
ok "a second run builds nothing"

section "subpackages"
m store ls archivers/bzip2,-lib:image/usr/local/lib > "$work/out"
grep -q libbz2.a "$work/out" || fail "-lib has no library"
m store ls archivers/bzip2,-main:image/usr/local > "$work/out"
if grep -q include "$work/out"; then fail "-main has headers"; fi
ok "the files of a port are cut by its packing lists"
# What only -doc has reaches nobody that is linked to -lib.
sed -i 's|^cp bzip2.1 .*|echo changed > $top/share/man/man1/bzip2.1|' "$work/tree/archivers/bzip2/port.spec"
m realise archivers/bsdiff > "$work/out" 2> "$work/err"
if grep -q '^built archivers/bsdiff' "$work/err"; then fail "bsdiff was built again: $(cat "$work/err")"; fi
ok "a change of -doc builds nothing that needs -lib"

section "a library"
printf '\n[section env]\nCFLAGS: -O1 -DMSTORE_TEST\n' >> "$work/tree/devel/zlib/port.spec"
m realise '*/*' > "$work/out" 2> "$work/err"
for port in graphics/libpng graphics/pngcheck; do
    grep -q "^built $port:build" "$work/err" || fail "$port was not built again though zlib is another"
done
if grep -q '^built lang/lua' "$work/err"; then fail "lua was built again"; fi
ok "both programs that are linked to zlib are built again, and no other"

section "a wrong hash"
sed -i 's/sha256:..../sha256:0000/' "$work/tree/misc/figlet/distinfo"
sed -i 's/^comment.*/&\nenv\/MORE: yes/' "$work/tree/sysutils/pv/port.spec"
status 3 m realise --keep-going misc/figlet sysutils/pv > "$work/out" 2> "$work/err" || { cat "$work/err"; exit 1; }
grep -q 'wrong hash: sha256:0000' "$work/err" || fail "no hash is named: $(cat "$work/err")"
grep -q '^sysutils/pv ' "$work/out" || fail "pv was not built: $(cat "$work/err")"
ok "a file with another hash is refused, and the others are built"
summary
