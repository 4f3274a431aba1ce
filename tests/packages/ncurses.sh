#!/usr/bin/env bash
# A library gets another soname: what is linked with it is built again, and nothing else. Real ncurses, once with the
# interface 5 and once with 6; a program and a shell that are linked with it; zlib, and a program that is linked with
# that, beside them. A cache of binary packages, as it is used elsewhere, leaves a program that does not start. Needs
# root, and apt's and pip's own configuration. The seed is that of tests/portage. doc/packages.md tells of this, and is
# looked at.
#
#   MSTORE=target/release/mstore tests/packages/ncurses.sh [WORK]
#
# Input that WORK has from an earlier run, or from one of stages.sh, is used again.
set -euo pipefail
own=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$own/../portage" && pwd)
MSTORE=$(realpath "${MSTORE:-$own/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-ncurses.XXXXXX)}
mkdir -p "$work/distfiles"
chmod 755 "$work"
. "$here/../real/lib/assert.sh"
. "$here/lib/input.sh"
[ "$(id -u)" = 0 ] || fail "must run as root"
for program in apt-get mmdebstrap python3; do
    command -v "$program" > /dev/null || fail "the program $program is not here"
done
[ $# -gt 0 ] || trap 'rm -rf "$work"' EXIT

section "input"
make_seed "$work/seed"
pack_seed "$work/seed" "$work/seed.tar"
fetch_sources
mkdir -p "$work/ncurses-sources"
fetch_debian "$work/ncurses-sources" ncurses=6.4-4
sources=$work/ncurses
rm -rf "$sources"
mkdir "$sources"
ebuilds=$sources/tree
cp -R "$here/tree" "$ebuilds"
rm "$ebuilds/profiles/default/linux/amd64/23.0/profile.bashrc"
for folder in app-arch app-misc app-shells sys-libs; do cp -R "$own/ncurses/$folder" "$ebuilds/"; done
echo app-shells >> "$ebuilds/profiles/categories"
mkdir "$ebuilds/distfiles"
cp "$work/distfiles/zlib-1.2.13.tar.bz2" "$ebuilds/distfiles/"
cp "$work"/ncurses-sources/ncurses_*.orig.tar.gz "$ebuilds/distfiles/ncurses-6.4.tar.gz"
write_manifest "$ebuilds/distfiles/ncurses-6.4.tar.gz" > "$ebuilds/sys-libs/ncurses/Manifest"
cp -R "$own/ncurses/conf" "$sources/conf"
conf() { "$MSTORE" --store "$sources/store" -f "$sources/conf/$1.conf" "${@:2}"; }
snapshot() { conf stage snapshot import "$ebuilds" --name gentoo --epoch 1700000000 > /dev/null 2>&1; }
# realise CONF [OPTION...]: output in out and err, which is shown if it fails
realise() {
    conf "$1" realise --json "$1-one" "${@:2}" > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "the stage was not built"; }
}
# built: packages that were built, on one line
built() { sed -n 's/^built stage-one[:\/]\([^ ]*\/[^ ]*\):install in .*/\1/p' "$work/err" | sort | tr '\n' ' ' | sed 's/ $//'; }
# requires PACKAGE: the libraries of ncurses that a package of the tree is linked with
requires() { conf stage store cat "$(field tree < "$work/out"):var/db/pkg/$1/REQUIRES" | tr ' ' '\n' | grep ncurses; }
libraries() { conf stage store ls "$(field tree < "$work/out"):usr/lib" | awk '{ print $NF }' | grep '^libncurses' | tr '\n' ' '; }
# told TEXT: the page of the manual has these words
told() { grep -qF -- "$1" "$own/../../doc/packages.md" || fail "doc/packages.md does not say: $1"; }

run conf classic seed import "$work/seed.tar" --name seed > /dev/null
run snapshot

section "a stage with ncurses 5, as it always was built"
realise classic
run conf classic export classic-one "$sources/base.tar" > /dev/null
run conf stage seed import "$sources/base.tar" --name base > /dev/null

section "the same, each package by itself"
realise stage
equal "built" "$(built)" "app-arch/press app-misc/tui app-shells/reef sys-libs/ncurses sys-libs/zlib"
equal "tui is linked with" "$(requires app-misc/tui-1)" libncurses.so.5
realise stage
equal "a second time" "$(field built < "$work/out")" 0

section "a program that does not say that it needs the library"
realise stage -D more/packages=app-misc/silent
equal "what is told" "$(grep -o 'app-misc/silent.*undeclared.*' "$work/err")" "app-misc/silent-1:0: undeclared: sys-libs/ncurses (libncurses.so.5)"
equal "built, once more with the library" "$(built)" "app-misc/silent app-misc/silent"
realise stage -D more/packages=app-misc/silent
equal "a second time" "$(field built < "$work/out")" 0
equal "what is told then" "$(grep -c undeclared "$work/err" || true)" 0

section "ncurses 6"
mv "$ebuilds/sys-libs/ncurses/ncurses-5.9.ebuild" "$ebuilds/sys-libs/ncurses/ncurses-6.4.ebuild"
snapshot
realise stage -D more/packages=app-misc/silent
equal "built" "$(built)" "app-misc/silent app-misc/tui app-shells/reef sys-libs/ncurses"
for package in app-misc/silent-1 app-misc/tui-1 app-shells/reef-1; do
    equal "$package is linked with" "$(requires "$package")" libncurses.so.6
done
case "$(libraries)" in *.so.5*) fail "the stage has the old library" ;; esac
ok "libraries of the stage: $(libraries)"
grep -rhao "the shell of the base starts, with .*" "$sources/store/logs" | tail -n 1 | grep . || fail "the shell of the base does not start"
realise stage -D more/packages=app-misc/silent
equal "a second time" "$(field built < "$work/out")" 0

section "packages that need each other to be built"
circle=(-D more/packages=app-misc/loom)
realise stage "${circle[@]}"
equal "built, with what the base has of the other" "$(built)" "app-misc/loom sys-libs/kelp"
mv "$ebuilds/sys-libs/kelp/kelp-1.ebuild" "$ebuilds/sys-libs/kelp/kelp-2.ebuild"
snapshot
realise stage "${circle[@]}"
# The first round of the program is known: the base is what it was.
equal "built, the library twice since it is another one" "$(built)" "app-misc/loom sys-libs/kelp sys-libs/kelp"
equal "the program is linked with" "$(conf stage store cat "$(field tree < "$work/out"):var/db/pkg/app-misc/loom-1/REQUIRES" | tr ' ' '\n' | grep kelp)" libkelp.so.2
realise stage "${circle[@]}"
equal "a second time" "$(field built < "$work/out")" 0

section "an undeclared library as an error"
printf '# Another one.\n' >> "$ebuilds/app-misc/silent/silent-1.ebuild"
snapshot
got=0
conf stage realise stage-one -D more/packages=app-misc/silent -D packages/undeclared=error > "$work/out" 2> "$work/err" || got=$?
equal "exit status" "$got" 2
grep -F "app-misc/silent-1:0: undeclared: sys-libs/ncurses (libncurses.so.5)" "$work/err" > /dev/null || { cat "$work/err"; fail "it is not told"; }
ok "it is told"
realise stage -D more/packages=app-misc/silent -D packages/undeclared=error -D "packages/depends=app-misc/silent sys-libs/ncurses"
equal "with what the specification says, built" "$(built)" "app-misc/silent"
equal "it is linked with" "$(requires app-misc/silent-1)" libncurses.so.6

section "a cache of binary packages, as it is used elsewhere"
realise classic
equal "tui is linked with" "$(requires app-misc/tui-1)" libncurses.so.5
case "$(libraries)" in *.so.5*) fail "the old library is there" ;; esac
ok "libraries beside it: $(libraries)"

section "what the manual says"
told 'app-misc/silent-1:0: undeclared: sys-libs/ncurses (libncurses.so.5)'
told 'app-misc/tui app-shells/reef sys-libs/ncurses'
ok "of this"
summary
