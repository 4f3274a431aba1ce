#!/usr/bin/env bash
# A stage whose packages are built each by itself, through the program: real Portage chooses and builds, and what is
# built again after a change is counted. Needs root, and apt's and pip's own configuration. The seed and the tree of
# ebuilds are those of tests/portage.
#
#   MSTORE=target/release/mstore tests/packages/stages.sh [WORK]
#
# Input that WORK has from an earlier run, or from one of run.sh, is used again.
set -euo pipefail
own=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$own/../portage" && pwd)
MSTORE=$(realpath "${MSTORE:-$own/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-stages.XXXXXX)}
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
rm -rf "$work/stages"
mkdir "$work/stages"
ebuilds=$work/stages/tree
cp -R "$here/tree" "$ebuilds"
# It wants the profile to be a link, which is what it is before settings are frozen.
rm "$ebuilds/profiles/default/linux/amd64/23.0/profile.bashrc"
mkdir "$ebuilds/distfiles"
cp "$work"/distfiles/*.tar.* "$ebuilds/distfiles/"
rm -f "$ebuilds"/distfiles/stand-in*
cp -R "$own/conf" "$work/stages/conf"
m() { "$MSTORE" --store "$work/stages/store" -f "$work/stages/conf/metro.conf" "$@"; }
snapshot() { m snapshot import "$ebuilds" --name gentoo --epoch 1700000000 > /dev/null; }
# realise [OPTION...]: output in out and err, which is shown if it fails
realise() {
    m realise --json stage-one "$@" > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "the stage was not built"; }
}
# built: packages that were built, and other steps, on one line
built() { sed -n 's/^built stage-one[:\/]\([^ ]*\) in .*/\1/p' "$work/err" | sed 's/:install$//' | sort | tr '\n' ' ' | sed 's/ $//'; }
in_stage() { m shell stage-one -- /bin/bash -c "$1" 2> /dev/null; }
# of_stage PATH: a file of the stage
of_stage() { m store cat "$(field tree < "$work/out"):$1"; }

run m seed import "$work/seed.tar" --name seed > /dev/null
run snapshot

# told TEXT COMMAND...: what a command prints has the text in it
told() {
    local text=$1
    shift
    "$@" > "$work/told" 2>&1 || { cat "$work/told"; fail "$*"; }
    grep -F -- "$text" "$work/told" > /dev/null || { cat "$work/told"; fail "$*: there is no \`$text\`"; }
    ok "$text"
}

section "what is told before"
told "stage-one: packages unknown until resolve has run (--resolve runs it)" m realise -n stage-one
told "stage-one: resolve up to date; 9 of 9 packages to build, 0 reused; then compose stage-one" m realise -n --resolve stage-one
told "stage-one: 9 packages changed, 0 follow" m why rebuild stage-one

section "a stage"
realise
all=$(built)
for package in acct-group/maildrop acct-user/maildrop app-alternatives/bz app-arch/bzip2 app-misc/boat app-misc/greeting \
    app-misc/privileges sys-libs/tide sys-libs/zlib; do
    case " $all " in *" $package "*) ;; *) fail "$package was not built: $all" ;; esac
done
ok "9 packages, each by itself"
equal "packages of the stage" "$(m store ls "$(field tree < "$work/out"):var/db/pkg" | awk '{ print $NF }' | tr '\n' ' ')" \
    "acct-group acct-user app-alternatives app-arch app-misc sys-libs "
equal "what was asked for, in the stage" "$(of_stage var/lib/portage/world | tr '\n' ' ')" \
    "acct-user/maildrop app-arch/bzip2 app-misc/boat app-misc/greeting app-misc/privileges "
first=$(field tree < "$work/out")
realise
equal "a second realise builds" "$(field built < "$work/out")" 0
equal "the tree" "$(field tree < "$work/out")" "$first"

section "packages by name"
told "app-misc/boat-1:0" m show stage-one
told "stage-one/app-misc/boat:install" m show stage-one:app-misc/boat
told "==== stage-one/app-misc/boat:install" m log stage-one:app-misc/boat
told "up-to-date stage-one/app-misc/boat:install" m graph stage-one
told " image" m store ls stage-one:app-misc/boat
told "boat" m store ls stage-one:app-misc/boat:0:/image/usr/bin
told "app-misc/boat: up to date, and no other build of it is remembered" m why rebuild stage-one:app-misc/boat
m realise --json stage-one:sys-libs/zlib:0 > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "a package was not found"; }
equal "what a package that is there takes" "$(field built < "$work/out")" 0
got=0
m realise stage-one:sys-libs/nothing > "$work/out" 2> "$work/err" || got=$?
equal "exit status of a package that there is not" "$got" 2
m realise --json --rebuild stage-one:app-misc/boat > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "a package was not built again"; }
equal "built again" "$(built)" "app-misc/boat"
realise --rebuild
equal "packages that are built again with the stage" "$(built | tr ' ' '\n' | grep / | grep -v '^packages' | grep -vc :)" 9
equal "the tree" "$(field tree < "$work/out")" "$first"

section "what changes follow"
printf '# A comment.\n' >> "$(echo "$ebuilds"/sys-libs/tide/tide-1.ebuild)"
snapshot
realise
equal "built after a comment in a library" "$(built | tr ' ' '\n' | grep / | grep -v '^packages' | tr '\n' ' ')" "sys-libs/tide "
equal "runs that this took, with what Portage was asked in between" "$(grep -c 'to build, ' "$work/err")" 1
printf '# A comment.\n' >> "$ebuilds/eclass/accounts.eclass"
snapshot
realise
equal "built after a comment in an eclass" "$(built | tr ' ' '\n' | grep / | grep -v '^packages' | tr '\n' ' ')" \
    "acct-group/maildrop acct-user/maildrop "
mkdir "$ebuilds/app-misc/nobody"
sed 's/^DESCRIPTION=.*/DESCRIPTION="What nobody asks for"/' "$ebuilds"/app-misc/greeting/greeting-1.ebuild > "$ebuilds/app-misc/nobody/nobody-1.ebuild"
snapshot
realise
equal "built after a package that no stage has" "$(built)" "resolve setup"
mv "$ebuilds/sys-libs/tide/tide-1.ebuild" "$ebuilds/sys-libs/tide/tide-2.ebuild"
snapshot
m realise -n --resolve stage-one > "$work/told" 2>&1 || { cat "$work/told"; fail "no dry run"; }
told "its ebuild changed: 1 → 2" m why rebuild stage-one
told "app-misc/boat: layer sys-libs/tide: has to be built first, because its ebuild changed: 1 → 2" m why rebuild stage-one
realise
told "layer sys-libs/tide: image changed" m why rebuild stage-one:app-misc/boat
told ", because its ebuild changed: 1 → 2" m why rebuild stage-one:app-misc/boat
equal "built after another version of a library" "$(built | tr ' ' '\n' | grep / | grep -v '^packages' | grep -v : | tr '\n' ' ')" \
    "app-misc/boat sys-libs/tide "

section "what Portage refuses"
got=0
m realise stage-one -D more/packages=app-misc/nothing > "$work/out" 2> "$work/err" || got=$?
equal "exit status" "$got" 2
grep -F 'there are no ebuilds to satisfy "app-misc/nothing"' "$work/err" > /dev/null || { cat "$work/err"; fail "Portage's own words are not there"; }
ok "Portage's own words"
got=0
m realise stage-one -D packages/tools=some > "$work/out" 2> "$work/err" || got=$?
equal "exit status of a word that cannot be" "$got" 2
grep -F 'packages/tools' "$work/err" > /dev/null || { cat "$work/err"; fail "the element is not named"; }
ok "the element is named"
summary
