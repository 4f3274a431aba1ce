#!/usr/bin/env bash
# Usage: run.sh MSTORE   Measures the keeper of a mirror; see README.md beside this.
set -euo pipefail
mstore=$(realpath "${1:?give the program}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d /tmp/mstore-repo-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
python3 "$here/generate.py" "$work/mirror"
keeper=("$mstore" repo --config "$work/mirror.buildbot" --mirror "$work/mirror" --today 2026-11-28)
best() {
    local name=$1 times=()
    shift
    for _ in 1 2 3 4 5; do
        local begin=${EPOCHREALTIME/./}
        "$@" > "$work/out" 2> /dev/null || true
        times+=($((${EPOCHREALTIME/./} - begin)))
    done
    printf '%s\n' "${times[@]}" | sort -n | head -n 1 | awk -v name="$name" '{ printf "%-12s %.3f s\n", name, $1 / 1e6 }'
}
best nextbuild "${keeper[@]}" nextbuild
best fails "${keeper[@]}" fails
best index.xml "${keeper[@]}" index.xml
best clean "${keeper[@]}" clean

# Hashing: four files of 256 MB and one of 1 GB, in the cache.
rm -rf "$work/mirror"
mkdir -p "$work/mirror/linden-current/snapshots"
for n in 1 2 3 4; do
    head -c 268435456 /dev/urandom > "$work/mirror/linden-current/snapshots/portage-$n.tar.xz"
done
cat "$work"/mirror/linden-current/snapshots/*.tar.xz > "$work/mirror/large.tar.xz"
files=("$work"/mirror/linden-current/snapshots/*.tar.xz "$work/mirror/large.tar.xz")
cat "${files[@]}" > /dev/null
for program in sha256sum b3sum; do
    command -v "$program" > /dev/null && best "$program" "$program" "${files[@]}"
done
digest() { rm -f "$work"/mirror/*.txt "$work"/mirror/*/*/*.txt; "${keeper[@]}" digestgen; }
best digestgen digest
