#!/usr/bin/env bash
# Builds real packages of a real tree in two roots, one with all libraries and one with those that they declare, and
# compares what comes out. Needs root, a tree of ebuilds, and apt's and pip's own configuration. See README.md.
#
#   TREE=DIR tests/long/packages/run.sh WORK [PACKAGE...]
#
# What WORK has from an earlier run is used again; packages that have a result are not built again unless they are named.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
work=$(realpath "$1"); shift
# Debian of the base, the one that the tree's eclasses know the tools of, and those whose source packages are looked at.
suite=${SUITE:-trixie}
source_suites=${SOURCE_SUITES:-bookworm trixie sid}
portage_version=3.0.83
portage_sha256=deac3ae1e03aea1ff09a0e831fa8d06e89bfc49440394b66ed6223338d5f9c4e
. "$here/root.sh"

[ "$(id -u)" = 0 ] || { echo "must run as root" >&2; exit 1; }
for program in apt-get mmdebstrap python3 readelf unshare; do
    command -v "$program" > /dev/null || { echo "the program $program is not here" >&2; exit 1; }
done

# make_tree: a copy, under the name that its own profiles have for it
make_tree() {
    [ ! -e "$work/tree.made" ] || return 0
    [ -d "${TREE:?set TREE to a tree of ebuilds}/profiles" ] || { echo "$TREE is not a tree of ebuilds" >&2; exit 1; }
    rm -rf "$work/tree"
    cp -R "$TREE" "$work/tree"
    echo gentoo > "$work/tree/profiles/repo_name"
    touch "$work/tree.made"
}

# fetch_archives: by lists of apt's own
fetch_archives() {
    local apt=$work/apt each archive
    # Where the system's own apt takes packages from; the longer address is that of security updates.
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '{ print length, $0 }' | sort -n | awk 'NR == 1 { print $2 }')
    mkdir -p "$apt/lists/partial" "$apt/parts" "$work/distfiles"
    for each in $source_suites; do
        echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $each main"
    done > "$apt/sources.list"
    echo "-o Dir::Etc::sourcelist=$apt/sources.list -o Dir::Etc::sourceparts=$apt/parts -o Dir::State::lists=$apt/lists" \
        "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root" > "$apt/options"
    [ ! -e "$work/distfiles.made" ] || return 0
    # shellcheck disable=SC2046
    apt-get $(cat "$apt/options") -qq update
    python3 "$here/sources.py" "$work/tree" "$here/packages.txt" "$apt" "$work/distfiles"
    touch "$work/distfiles.made"
}

# resolve: what the packages declare, as Portage reads it
resolve() {
    [ ! -e "$work/resolved.json" ] || return 0
    mkdir -p "$work/ask" "$work/edb"
    cp "$here/resolve.py" "$here/packages.txt" "$work/ask/"
    { awk '!/^#/ { print $1 }' "$here/libraries.txt"; awk '!/^#/ { print $2 }' "$here/tools.txt"; } > "$work/ask/views.txt"
    rm -rf "$work/run/ask"
    "$here/enter.sh" "$work/run/ask" "$work/base" "$work/tree:/var/db/repos/gentoo:ro" "$work/distfiles:/var/cache/distfiles:ro" \
        "$work/ask:/ask:rw" "$work/edb:/var/cache/edb:rw" -- python3 /ask/resolve.py /ask/packages.txt /ask/views.txt /ask/resolved.json
    mv "$work/ask/resolved.json" "$work/resolved.json"
}

make_tree
fetch_archives
make_base "$work/base"
split_base "$work/base" "$work/layers"
resolve
python3 "$here/build.py" "$work" "$@"
python3 "$here/report.py" "$work"
