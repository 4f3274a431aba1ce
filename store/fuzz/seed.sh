#!/bin/sh
# Makes the first inputs of the target `tar`, small archives in every dialect that GNU tar and bsdtar write.
# The other targets make their own.
set -e
cd "$(dirname "$0")"
mkdir -p corpus/tar
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
long=$(printf 'n%.0s' $(seq 150))
mkdir -p "$work/tree/folder"
printf 'hello\n' > "$work/tree/file"
printf 'other\n' > "$work/tree/folder/$long"
ln "$work/tree/file" "$work/tree/folder/again"
ln -s file "$work/tree/link"
ln -s "folder/$long" "$work/tree/long"
mkfifo "$work/tree/pipe"
mkdir "$work/sparse"
truncate -s 200000 "$work/sparse/holes"
printf 'end' >> "$work/sparse/holes"
touch -d '1965-01-01 00:00:00.5' "$work/tree/file"
setfattr -n user.text -v value "$work/tree/file" 2> /dev/null || true
setfacl -m u:1000:rw "$work/tree/file" 2> /dev/null || true
[ "$(id -u)" != 0 ] || mknod "$work/tree/null" c 1 3 2> /dev/null || true
# 3: checksums are put right, as for a snapshot; 1: as for a seed; 0: nothing is.
seed() { { printf "\\$2"; cat "$work/archive"; } > "corpus/tar/$1-$2"; }
each() {
    "$@" > "$work/archive" 2> /dev/null || return 0
    number=$((${number:-0} + 1))
    for choice in 000 001 003; do seed "$number" "$choice"; done
}
for format in v7 ustar oldgnu gnu posix; do
    each tar -C "$work/tree" --format="$format" -c .
    for sparse in 0.0 0.1 1.0; do
        each tar -C "$work/sparse" --format="$format" -S --sparse-version="$sparse" -c holes
    done
done
each tar -C "$work/tree" --format=posix --xattrs --acls -c .
for format in ustar pax gnutar v7tar; do each bsdtar -C "$work/tree" --format="$format" -cf - .; done
for way in gzip bzip2 xz 'zstd -q'; do
    each sh -c "tar -C '$work/tree' -c file link | $way -c"
done
