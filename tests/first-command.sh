#!/usr/bin/env bash
# The README's first command as a new user meets it: nothing configured, an empty store. As
# root and as an ordinary user; both must give the same tree, and a second run must do nothing, at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mstore=$(realpath "${MSTORE:-$here/../target/release/mstore}")
work=$(mktemp -d /var/tmp/mstore-first.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
install -m 755 "$mstore" "$work/mstore"
mkdir "$work/home" "$work/empty"
passed=0
ok() { passed=$((passed + 1)); echo "ok: $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
json() { python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())[sys.argv[1]])' "$1"; }

cd "$work/empty"
export MSTORE_STORE=$work/store
time "$work/mstore" realise stage3-corei7 --json > "$work/out"
tree=$(json tree < "$work/out")
ok "built as root: $tree"

best=999999
for _ in 1 2 3 4 5; do
    from=$(date +%s%N); "$work/mstore" realise stage3-corei7 --json > "$work/out" 2> "$work/err"; to=$(date +%s%N)
    took=$(((to - from) / 1000)); [ "$took" -lt "$best" ] && best=$took
done
[ "$(json built < "$work/out")" = 0 ] || fail "the second run built something"
"$work/mstore" realise stage3-corei7 2>&1 | grep -qi 'nothing' || fail "the second run does not say that there was nothing to do"
ok "nothing to do takes $best us"

[ "$("$work/mstore" shell stage3-corei7 -- /bin/sh -c 'echo inside')" = inside ] || fail "the stage does not run"
"$work/mstore" shell stage3-corei7 -- /bin/sh -c 'test -f /mstore/snapshot/spm/spm && test -n "$CFLAGS"' || fail "the shell lacks the snapshot or the environment of the steps"
ok "the finished stage runs, and its shell shows the snapshot"

user=mstore-test
id "$user" > /dev/null 2>&1 || useradd -m -d "/var/tmp/$user" "$user"
chown "$user:" "$work/home"
as_user() {
    # Many shells and containers allow no core files at all.
    (ulimit -c 0; cd "$work/home" && env -u MSTORE_STORE HOME="$work/home" XDG_DATA_HOME="$work/home/data" \
        setpriv --reuid "$user" --regid "$user" --init-groups "$@")
}
as_user "$work/mstore" realise stage3-corei7 --json > "$work/out"
[ "$(json tree < "$work/out")" = "$tree" ] || fail "another tree as an ordinary user: $(cat "$work/out")"
ok "an ordinary user gets the same tree"
as_user "$work/mstore" gc --dry-run > /dev/null
as_user "$work/mstore" store verify
ok "its store is sound"
echo
echo "$passed passed, 0 failed"
