#!/usr/bin/env bash
# Binary packages: a stage whose packages were built each by itself is exported for Portage, and a client installs from it over
# HTTP. Needs root. The seed, the tree of ebuilds and the store are those that tests/packages/stages.sh left in WORK.
#
#   MSTORE=target/release/mstore tests/packages/binhost.sh WORK
set -euo pipefail
own=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$own/../portage" && pwd)
MSTORE=$(realpath "${MSTORE:-$own/../../target/release/mstore}")
work=$(realpath "$1")
. "$here/../real/lib/assert.sh"
[ "$(id -u)" = 0 ] || fail "must run as root"
[ -d "$work/stages/store" ] || fail "tests/packages/stages.sh makes the store"
m() { "$MSTORE" --store "$work/stages/store" -f "$work/stages/conf/metro.conf" "$@"; }
rm -rf "$work/binhost"
mkdir "$work/binhost"
cleanup() {
    if [ -n "${server:-}" ]; then kill "$server" 2> /dev/null || true; fi
    for mount in "$work/binhost/client/proc" "$work/binhost/client/dev" "$work/binhost/client"; do
        if mountpoint -q "$mount"; then umount "$mount"; fi
    done
}
trap cleanup EXIT
# sums DIR: what is in a folder
sums() { (cd "$1" && find . -type f ! -name '.mstore-*' -printf '%p %s %T@\n' -exec sha256sum {} \; | sort); }

section "export"
one=$work/binhost/one
m export --binhost "$one" stage-one --dry-run > "$work/binhost/plan"
count=$(wc -l < "$work/binhost/plan")
grep -q "^write .*/sys-libs/zlib/zlib-1.2.13-1.gpkg.tar\$" "$work/binhost/plan" || fail "the dry run does not tell of zlib"
[ ! -e "$one" ] || fail "a dry run wrote something"
run m export --binhost "$one" stage-one
equal "packages that the list has" "$(grep -c '^CPV: ' "$one/Packages")" "$count"
m export --binhost "$work/binhost/two" stage-one 2> /dev/null
diff <(sums "$one") <(sums "$work/binhost/two") > /dev/null || fail "a second export has other bytes"
ok "a second export has the same bytes and times"
sums "$one" > "$work/binhost/before"
rm "$one/sys-libs/zlib/zlib-1.2.13-1.gpkg.tar"
m export --binhost "$one" stage-one --json > "$work/binhost/json"
equal "written again" "$(grep -c '"action":"write"' "$work/binhost/json")" 1
sums "$one" | diff "$work/binhost/before" - > /dev/null || fail "an export that goes on has other bytes"
ok "an export that goes on writes what is missing"
printf x >> "$one/sys-libs/zlib/zlib-1.2.13-1.gpkg.tar"
got=0
m export --binhost "$one" stage-one > /dev/null 2> "$work/binhost/err" || got=$?
equal "exit status where somebody changed a file" "$got" 2
m export --binhost "$one" stage-one --replace 2> /dev/null
sums "$one" | diff "$work/binhost/before" - > /dev/null || fail "--replace did not write it again"
ok "--replace writes it again"

section "a client installs from it"
# Not by a function: the number would be that of a shell, which leaves it behind.
"$MSTORE" --store "$work/stages/store" serve --listen 127.0.0.1:0 --binhost "$one" --json > "$work/binhost/served" &
server=$!
for _ in $(seq 600); do [ ! -s "$work/binhost/served" ] || break; sleep 0.1; done
url=$(field url < "$work/binhost/served")/binhost
client=$work/binhost/client
mkdir -p "$client" "$work/binhost/up" "$work/binhost/work"
mount -t overlay overlay -o "lowerdir=$work/seed,upperdir=$work/binhost/up,workdir=$work/binhost/work" "$client"
mount -t proc proc "$client/proc"
mount --bind /dev "$client/dev"
mkdir -p "$client/var/db/repos" "$client/etc/portage/repos.conf"
cp -R "$work/stages/tree" "$client/var/db/repos/gentoo"
printf '[DEFAULT]\nmain-repo = gentoo\n\n[gentoo]\nlocation = /var/db/repos/gentoo\nauto-sync = no\n' > "$client/etc/portage/repos.conf/gentoo.conf"
ln -sfn ../../var/db/repos/gentoo/profiles/default/linux/amd64/23.0 "$client/etc/portage/make.profile"
cat > "$client/etc/portage/make.conf" << 'END'
FEATURES="-sandbox -usersandbox -ipc-sandbox -network-sandbox -pid-sandbox -mount-sandbox -userpriv -news -merge-sync -distlocks"
FEATURES="${FEATURES} -pkgdir-index-trusted"
PORTAGE_BINHOST="@URL@"
FETCHCOMMAND="python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' \"\${URI}\" \"\${DISTDIR}/\${FILE}\""
END
sed -i "s#@URL@#$url#" "$client/etc/portage/make.conf"
packages="acct-user/maildrop app-arch/bzip2 app-misc/boat app-misc/greeting app-misc/privileges"
chroot "$client" /bin/bash -c "cd / && env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    emerge --usepkgonly --getbinpkg --oneshot --jobs=1 --root=/client --config-root=/ $packages" > "$work/binhost/emerge" 2>&1 ||
    { tail -n 60 "$work/binhost/emerge"; fail "the client could not install"; }
ok "emerge --usepkgonly --getbinpkg installed $count packages"
equal "packages that are installed" "$(find "$client/client/var/db/pkg" -mindepth 2 -maxdepth 2 -type d ! -name '.*' | wc -l)" "$count"
# What both have is the same: files, links, modes and owners.
mkdir "$work/binhost/stage"
m export stage-one --to "$work/binhost/stage/root" 2> /dev/null
look() { (cd "$1" && find . -path ./var/db/pkg -prune -o -path ./var/cache -prune -o -path ./var/lib/portage -prune -o -path ./etc -prune -o -path ./tmp -prune \
    -o -path ./var/log -prune -o -path ./var/tmp -prune -o ! -type d -printf '%p %y %m %U:%G %l\n' | sort); }
diff <(look "$work/binhost/stage/root") <(look "$client/client") || fail "the client's root is another one than the stage"
ok "the client has the files of the stage, with their owners and modes"
for file in usr/lib/x86_64-linux-gnu/libz.so.1 usr/bin/bzip2; do
    [ ! -e "$work/binhost/stage/root/$file" ] || cmp "$work/binhost/stage/root/$file" "$client/client/$file"
done
kill "$server"
wait "$server" || true
server=
summary
