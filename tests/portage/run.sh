#!/usr/bin/env bash
# Stages of real Portage by the standard specifications: a Debian seed with Portage in it, a small tree of
# ebuilds, profiles and eclasses written for this test, and source archives of Debian. stage1, stage2 and stage3
# are built as root and as an ordinary user, and looked at, with all that is made of them. Needs root, and apt's
# and pip's own configuration.
#
#   MSTORE=target/release/mstore tests/portage/run.sh [WORK]
#
# Input that WORK has from an earlier run is used again, and with CASES the store as well. CASES names the cases that
# are tried, in order, the first time `chain` before others; tests/long/portage.sh tries those that take long. With SPECS=stdlib-specs the specifications of that
# folder are used in place of those in the program.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-portage.XXXXXX)}
mkdir -p "$work"
chmod 755 "$work"
. "$here/../real/lib/assert.sh"
. "$here/lib/input.sh"
. "$here/lib/cases.sh"
. "$here/lib/manual.sh"
. "$here/lib/same.sh"

[ "$(id -u)" = 0 ] || fail "must run as root"
for program in apt-get debugfs e2fsck mmdebstrap newuidmap python3 setpriv taskset unsquashfs zstd; do
    command -v "$program" > /dev/null || fail "the program $program is not here"
done
python3 -m pip --version > /dev/null || fail "pip is not here, for $(command -v python3)"
user=mstore-portage
cleanup() {
    if [ -n "${user_made:-}" ]; then userdel "$user"; fi
    [ $# -gt 0 ] || [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap 'cleanup "$@"' EXIT

section "input"
mkdir -p "$work/distfiles"
make_seed "$work/seed"
pack_seed "$work/seed" "$work/seed.tar"
pack_stand_in "$work/seed" "$work/distfiles/stand-in-12.tar.zst"
fetch_sources
make_tree "$work/tree"
rm -rf "$work/conf"
cp -R "$here/conf" "$work/conf"
[ -z "${SPECS:-}" ] || cp -R "$SPECS/." "$work/conf/specs/"
store=$work/store
# Cases count what is built: with all of them nothing may be there.
[ -n "${CASES:-}" ] || rm -rf "$store"
m() { "$MSTORE" --store "$store" -f "$work/conf/metro.conf" "$@"; }
ok "the seed has $(stat -c %s "$work/seed.tar") bytes, the tree $(find "$work/tree" | wc -l) entries"
run m seed import "$work/seed.tar" --name gentoo/x86-64bit/generic_64/stage3
run m snapshot import "$work/tree" --name gentoo --epoch "$epoch"
run m snapshot import "$work/overlay" --name overlay

for case in ${CASES:-chain contents nothing_to_do seeds stage4 rootless images manual shell tailored binary_packages unused_ebuild freshen damages profile kits}; do
    section "$case"
    "case_$case"
done
summary
