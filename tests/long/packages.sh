#!/usr/bin/env bash
# The same stage of packages however it is built: by one job and by eight, in random order, by an ordinary user, and by
# runs that are killed at any time or whose disk is full. Takes what tests/packages/stages.sh takes; minutes each.
#
#   MSTORE=target/release/mstore tests/long/packages.sh [WORK]
set -euo pipefail
own=$(cd "$(dirname "$0")/../packages" && pwd)
here=$(cd "$own/../portage" && pwd)
MSTORE=$(realpath "${MSTORE:-$own/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-packages.XXXXXX)}
mkdir -p "$work/distfiles"
chmod 755 "$work"
. "$here/../real/lib/assert.sh"
. "$here/lib/input.sh"
[ "$(id -u)" = 0 ] || fail "must run as root"
for program in apt-get mmdebstrap newuidmap python3 setpriv; do
    command -v "$program" > /dev/null || fail "the program $program is not here"
done
user=mstore-packages
full=$work/full
cleanup() {
    if mountpoint -q "$full"; then umount "$full"; fi
    if [ -n "${user_made:-}" ]; then userdel "$user"; fi
    [ $# -gt 0 ] || rm -rf "$work"
}
trap 'cleanup "$@"' EXIT

section "input"
make_seed "$work/seed"
pack_seed "$work/seed" "$work/seed.tar"
fetch_sources
ways=$work/ways
rm -rf "$ways"
mkdir "$ways"
chmod 755 "$ways"
cp -R "$here/tree" "$ways/tree"
rm "$ways/tree/profiles/default/linux/amd64/23.0/profile.bashrc"
mkdir "$ways/tree/distfiles"
cp "$work"/distfiles/*.tar.* "$ways/tree/distfiles/"
rm -f "$ways"/tree/distfiles/stand-in*
cp -R "$own/conf" "$ways/conf"
# m STORE ARGUMENT...
m() { "$MSTORE" --store "$1" -f "$ways/conf/metro.conf" "${@:2}"; }
run m "$ways/before" seed import "$work/seed.tar" --name seed > /dev/null
run m "$ways/before" snapshot import "$ways/tree" --name gentoo --epoch 1700000000 > /dev/null
# begin STORE: a store as it is before the first build
begin() { rm -rf "$1"; cp -a --reflink=auto "$ways/before" "$1"; }
# stage STORE [OPTION...]: the tree of the stage
stage() { m "$1" realise --json stage-one "${@:2}" 2> "$work/err" | field tree; }

section "orders"
begin "$ways/one"
tree=$(stage "$ways/one" -j 1) || { tail -n 60 "$work/err"; fail "the stage was not built"; }
ok "by one job: $tree"
begin "$ways/eight"
equal "by eight jobs in random order" "$(stage "$ways/eight" -j 8 --random)" "$tree"
if ! id "$user" > /dev/null 2>&1; then
    useradd -M -d "$ways/home" "$user"
    user_made=yes
fi
grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 --add-subgids 300000-365535 "$user"
mkdir "$ways/home"
cp -R "$ways/conf" "$ways/home/conf"
rm "$ways/home/conf/metro.lock"
install -m 755 "$MSTORE" "$ways/mstore"
chown -R "$user:" "$ways/home"
as_user() {
    (cd "$ways/home" && env -u MSTORE_STORE HOME="$ways/home" TZ=Asia/Kathmandu LC_ALL=C setpriv --reuid "$user" --regid "$user" --init-groups \
        "$ways/mstore" --store "$ways/home/store" -f conf/metro.conf "$@")
}
as_user seed import "$work/seed.tar" --name seed > /dev/null
as_user snapshot import "$ways/tree" --name gentoo --epoch 1700000000 > /dev/null
equal "by an ordinary user" "$(as_user realise --json stage-one 2> "$work/err" | field tree)" "$tree"

section "kill -9"
begin "$ways/killed"
seconds=1 killed=0 got=
while [ -z "$got" ]; do
    m "$ways/killed" realise --json stage-one > "$work/out" 2> "$work/err" &
    pid=$!
    for _ in $(seq "$((seconds * 10))"); do
        kill -0 "$pid" 2> /dev/null || break
        sleep 0.1
    done
    if kill -9 "$pid" 2> /dev/null; then killed=$((killed + 1)); fi
    ! wait "$pid" 2> /dev/null || got=$(field tree < "$work/out")
    # Now in a package, now between them, now while packages become nodes.
    seconds=$((seconds % 17 + 3))
    [ "$killed" -lt 100 ] || fail "it never comes to an end"
done
equal "the tree after $killed runs were killed" "$got" "$tree"
m "$ways/killed" store verify > "$work/out" 2>&1 || { cat "$work/out"; fail "the store is damaged"; }
ok "the store is sound"

section "a full disk"
mkdir -p "$full"
size=$(($(du -sm "$ways/before" | cut -f 1) + 40))
mount -t tmpfs -o "size=${size}m,mode=755" tmpfs "$full"
cp -a "$ways/before" "$full/store"
fulls=0
while ! m "$full/store" realise --json stage-one > "$work/out" 2> "$work/err"; do
    fulls=$((fulls + 1))
    [ "$fulls" -lt 60 ] || { tail -n 20 "$work/err"; fail "it never comes to an end"; }
    size=$((size + 40))
    mount -o "remount,size=${size}m" "$full"
done
[ "$fulls" -gt 0 ] || fail "the disk was never full"
equal "the tree after the disk was full $fulls times" "$(field tree < "$work/out")" "$tree"
m "$full/store" store verify > "$work/out" 2>&1 || { cat "$work/out"; fail "the store is damaged"; }
ok "the store is sound"
umount "$full"
summary
