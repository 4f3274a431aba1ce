#!/usr/bin/env bash
# Packages of real Portage as derivations of their own: built, composed, and compared with what Portage merges, as root
# and as an ordinary user. Needs root, and apt's and pip's own configuration. The seed and the tree of ebuilds are those
# of tests/portage.
#
#   tests/packages/run.sh [WORK] [CASE...]
#
# Input that WORK has from an earlier run is used again, and its stores with KEEP.
set -euo pipefail
here=$(cd "$(dirname "$0")/../portage" && pwd)
top=$(cd "$here/../.." && pwd)
work=${1:-$(mktemp -d /var/tmp/mstore-packages.XXXXXX)}
mkdir -p "$work"
chmod 755 "$work"
. "$here/../real/lib/assert.sh"
. "$here/lib/input.sh"
[ "$(id -u)" = 0 ] || fail "must run as root"
for program in apt-get cargo mmdebstrap newuidmap python3 setpriv; do
    command -v "$program" > /dev/null || fail "the program $program is not here"
done
user=mstore-packages
cleanup() {
    if [ -n "${user_made:-}" ]; then userdel "$user"; fi
    [ $# -gt 0 ] || rm -rf "$work"
}
trap 'cleanup "$@"' EXIT

section "input"
mkdir -p "$work/distfiles"
make_seed "$work/seed"
pack_seed "$work/seed" "$work/seed.tar"
fetch_sources
rm -rf "$work/tree"
cp -R "$here/tree" "$work/tree"
[ -n "${KEEP:-}" ] || rm -rf "$work/root" "$work/home"
shift || true
program=${PROGRAM:-$(cd "$top" && cargo test --locked --test packages --no-run --message-format short 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p')}
program=$(cd "$top" && realpath "$program")
[ -x "$program" ] || fail "the tests could not be built"

section "as root"
mkdir -p "$work/root"
MSTORE_TEST_PACKAGES=$work MSTORE_TEST_STORE=$work/root/store "$program" "$@" | tee "$work/root.out"
grep -q '^# 0 failed' "$work/root.out" || fail "as root"

section "as an ordinary user"
if ! id "$user" > /dev/null 2>&1; then
    useradd -M -d "$work/home" "$user"
    user_made=yes
fi
grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 --add-subgids 300000-365535 "$user"
mkdir -p "$work/home"
install -m 755 "$program" "$work/program"
chown "$user:" "$work/home"
(cd "$work/home" && MSTORE_TEST_PACKAGES=$work MSTORE_TEST_STORE=$work/home/store TZ=Asia/Kathmandu LC_ALL=C \
    setpriv --reuid "$user" --regid "$user" --init-groups "$work/program" a_package_has_its_folders so_is_one "$@") | tee "$work/user.out"
grep -q '^# 0 failed' "$work/user.out" || fail "as an ordinary user"
# Of each tree that both made: it is the same.
grep '^tree of' "$work/user.out" | while read -r line; do
    grep -qxF "$line" "$work/root.out" || fail "as root there is another $line"
done
ok "$(grep -c '^tree of' "$work/user.out") trees are the same as root and as an ordinary user"
summary
