#!/bin/sh
# Makes the first inputs of the targets `pack` and `objects`: MSTORE=target/release/mstore sh store/fuzz/seed.sh
set -e
MSTORE=$(realpath "${MSTORE:-target/release/mstore}")
cd "$(dirname "$0")"
mkdir -p corpus/pack corpus/objects
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree/folder"
printf 'hello\n' > "$work/tree/file"
printf 'hello again\n' > "$work/tree/folder/other"
yes 'one line and another' | head -500 > "$work/tree/folder/squeezable"
ln -s file "$work/tree/link"
tar -C "$work/tree" -cf "$work/tree.tar" .
printf 'list/builds: b\nlist/arches: x\nlist/subarches/x: y\nlist/targets: t\ndefault/build: b\n' > "$work/metro.conf"
"$MSTORE" --store "$work/store" -f "$work/metro.conf" seed import "$work/tree.tar" > /dev/null 2>&1
for pack in "$work"/store/packs/*.pack; do
    # 5: the fixed parts and the checksum are put right.
    { printf '\005'; cat "$pack"; } > "corpus/pack/$(basename "$pack")"
done
for way in gzip bzip2 xz 'zstd -q'; do
    { printf '\003'; $way -c < "$work/tree/folder/squeezable"; } > "corpus/objects/${way%% *}" 2> /dev/null || true
done
