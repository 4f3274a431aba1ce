#!/usr/bin/env bash
# A remote build, in Metro's words: a subarch that has no stage3 of its own starts from the stage3 of another one, and from
# its own as soon as there is one. Which it was stands in metro.lock. Real programs are compiled, by the standard specifications.
#
#   MSTORE=target/release/mstore tests/remote.sh [WORK]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mstore=$(realpath "${MSTORE:-$here/../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-remote.XXXXXX)}
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/conf"
cd "$work/conf"
export MSTORE_STORE=$work/store
passed=0
ok() { passed=$((passed + 1)); echo "ok: $*"; }
fail() { echo "FAILED: $*" >&2; cat "$work/err" >&2 || true; exit 1; }
# configure LINE...: the standard specifications, and these lines.
configure() { printf '%s\n' '[collect /usr/share/mstore/specs/metro.conf]' "$@" > metro.conf; }
# realise TARGET: its tree; how many steps were built goes to $work/built
realise() {
    "$mstore" realise "$1" --json > "$work/out" 2> "$work/err" || fail "$1 was not built"
    sed 's/.*"built":\([0-9]*\).*/\1/' "$work/out" > "$work/built"
    sed 's/.*"tree":"\([a-z2-7]*\)".*/\1/' "$work/out"
}
# locked NAME: the tree that metro.lock has for a seed
locked() { sed -n "/^\[section seed\/${1//\//\\/}\]/,/^$/s/^tree: //p" metro.lock; }
# starts: what stage1 of the subarch starts from
starts() { "$mstore" show stage1-corei7:toolchain | sed -n 's/^ *root at \/: //p'; }
general=seedling/x86-64bit/generic_64/stage3 own=seedling/x86-64bit/corei7/stage3

configure
first=$(realise stage3-generic_64)
"$mstore" lock --seed "$general=$first" > /dev/null 2>&1
[ "$(locked $general)" = "$first" ] || fail "metro.lock does not have $general"
[ -z "$(locked $own)" ] || fail "metro.lock has $own already"

configure '[section strategy]' 'build: remote' '[section remote]' 'subarch: generic_64'
[ "$(starts)" = "$first" ] || fail "the remote build starts from $(starts)"
remote=$(realise stage3-corei7)
[ "$(cat "$work/built")" -gt 10 ] || fail "it built $(cat "$work/built") steps"
"$mstore" show stage3-corei7:files | grep -q 'env CFLAGS=-march=corei7 ' || fail "the flags are not the subarch's"
[ "$remote" != "$first" ] || fail "it is the other subarch's stage3"
ok "stage3-corei7 from the stage3 of generic_64: $remote"

configure '[section strategy]' 'build: local'
got=0
"$mstore" realise stage3-corei7 > "$work/out" 2> "$work/err" || got=$?
[ "$got" = 2 ] || fail "a local build without a stage3 of its own: exit status $got"
grep -qF "metro.lock has no seed \`$own\`, which seedling/x86-64bit/corei7/stage1 needs" "$work/err" || fail "the message does not name the seed"
ok "without a stage3 of its own a local build says what it needs"

"$mstore" lock --seed "$own=$remote" > /dev/null 2>&1
[ "$(locked $own) $(locked $general)" = "$remote $first" ] || fail "metro.lock does not have both: $(cat metro.lock)"
[ "$(starts)" = "$remote" ] || fail "the local build starts from $(starts)"
local=$(realise stage3-corei7)
[ "$(cat "$work/built")" -gt 0 ] || fail "it built nothing"
ok "stage3-corei7 from its own: $local, and metro.lock tells of both"

# The next round starts from that one; the lock file is the only thing that changes.
cp metro.conf "$work/metro.conf"
"$mstore" lock --seed "$own=$local" > /dev/null 2>&1
cmp metro.conf "$work/metro.conf"
[ "$(starts)" = "$local" ] || fail "the next round starts from $(starts)"
[ "$(realise stage3-corei7)" = "$local" ] || fail "a stage3 that is built by itself is another one"
ok "the round after that gives the same tree"
echo
echo "$passed passed, 0 failed"
