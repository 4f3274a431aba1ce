#!/usr/bin/env bash
# Sixty real ports, those of tests/ports/run.sh among them: built from Debian's sources, each of them run in a test.
# Needs root, mmdebstrap and apt's own configuration; asks for nothing else. Takes half an hour on two processors.
#
#   MSTORE=target/release/mstore tests/long/ports.sh [WORK]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-ports.XXXXXX)}
chmod 755 "$work"
. "$here/../real/lib/assert.sh"
. "$here/../ports/lib.sh"
[ "$(id -u)" = 0 ] || fail "must run as root"
given=$#
cleanup() { [ "$given" -gt 0 ] || [ -n "${KEEP:-}" ] || rm -rf "$work"; }
trap cleanup EXIT

section "input"
make_base "$work/base.tar" gcc,libc6-dev,make,patch,xz-utils,bzip2,libncurses-dev
apt_sources
rm -rf "$work/tree"
cp -R "$here/../ports/real" "$work/tree"
cp -R "$here/ports/." "$work/tree"
# The base of this run has ncurses.
sed -i 's|^devel/gmake|&\ndevel/ncurses|' "$work/tree/ports.conf"
distinfo "$work/tree"
ports=$(ls "$work"/tree/*/*/port.spec | wc -l)
ok "sources of $ports ports"
: > "$work/mstore.conf"
m() { "$MSTORE" --store "$work/store" --config "$work/mstore.conf" --ports-tree "$work/tree" "$@"; }
run m seed import "$work/base.tar" --name debian-ports

section "all ports and every test"
began=$SECONDS
status 0 m realise --keep-going '*/*:test' > "$work/out" 2> "$work/err" || { grep -v '^build' "$work/err" >&2; exit 1; }
cut -d ' ' -f 1 "$work/out"
equal "ports that were tested" "$(wc -l < "$work/out")" "$ports"
echo "$((SECONDS - began)) s"

section "nothing to do"
m realise '*/*' > "$work/out" 2> "$work/err"
grep -q 'nothing to do' "$work/err" || fail "something was built: $(cat "$work/err")"
ok "a second run builds nothing"
summary
