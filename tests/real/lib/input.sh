# Real input, fetched through the machine's own apt configuration; sourced.

# make_seed FILE: a Debian root file system with a C compiler, as a tar archive
make_seed() {
    [ -s "$1" ] && return
    mmdebstrap --quiet --variant=minbase --include=gcc,libc6-dev,make "$(. /etc/os-release; echo "$VERSION_CODENAME")" "$1"
    ok "seed archive of $(stat -c %s "$1") bytes"
}

# fetch_sources DIR NAME...: upstream sources of Debian packages, unpacked to DIR/NAME
fetch_sources() {
    local dir=$1 apt name archive; shift
    [ -d "$dir" ] && return
    apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/parts" "$apt/download" "$dir"
    # The machine's own sources, asked for source packages: no address is written here.
    : > "$apt/sources.list"
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -f "$f" ]; then sed -n 's/^deb /deb-src /p' "$f" >> "$apt/sources.list"; fi
    done
    for f in /etc/apt/sources.list.d/*.sources; do
        if [ -f "$f" ]; then sed 's/^Types:.*/Types: deb-src/' "$f" > "$apt/parts/$(basename "$f")"; fi
    done
    set -- -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -- "$@"
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done; shift
    apt-get "${options[@]}" -qq update
    for name in "$@"; do
        (cd "$apt/download" && apt-get "${options[@]}" -qq source --download-only "$name" >/dev/null 2>&1) || true
        archive=$(ls "$apt/download/$name"_*.orig.tar.* 2>/dev/null | grep -v '\.asc$' | head -n 1)
        [ -n "$archive" ] || fail "the sources of $name did not arrive"
        mkdir "$dir/$name"
        tar -C "$dir/$name" --strip-components=1 --no-same-owner -xf "$archive"
        ok "sources of $name: $(basename "$archive")"
    done
}
