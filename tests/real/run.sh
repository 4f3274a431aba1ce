#!/usr/bin/env bash
# End to end on real input: a Debian root as seed, upstream sources as snapshot, three stages
# really compiled in the sandbox; then what a release team relies on, asserted one by one.
# Needs root, mmdebstrap, uidmap and apt's own configuration; asks for nothing else.
#
#   MSTORE=target/release/mstore tests/real/run.sh [WORK]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
export MSTORE
work=${1:-$(mktemp -d /var/tmp/mstore-real.XXXXXX)}
chmod 755 "$work"
. "$here/lib/assert.sh"
. "$here/lib/input.sh"
. "$here/lib/cases.sh"

[ "$(id -u)" = 0 ] || fail "must run as root"
cleanup() { umount "$work/small" 2>/dev/null || true; [ $# -gt 0 ] || [ -n "${KEEP:-}" ] || rm -rf "$work"; }
trap cleanup EXIT

section "input"
make_seed "$work/seed.tar"
fetch_sources "$work/sources" zlib bzip2 dash ed
cp -R "$here/specs" "$work/specs"
store=$work/store
m() { "$MSTORE" --store "$store" -f "$work/specs/metro.conf" "$@"; }

section "seed and snapshot"
run m seed import "$work/seed.tar" --name debian
run m snapshot import "$work/sources" --name sources

for case in chain nothing_to_do comment_in_last_script one_source_changed early_cutoff elsewhere \
    killed_at_random failing_script disk_full read_only damaged; do
    section "$case"
    "case_$case"
done
summary
