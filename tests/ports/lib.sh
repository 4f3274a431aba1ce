# What the rigs of real ports share; sourced. Needs $work, and tests/real/lib/assert.sh.

# make_base FILE: a Debian root file system with a C compiler, as a tar archive
make_base() {
    [ -s "$1" ] && return
    mmdebstrap --quiet --variant=minbase --include="$2" "$(. /etc/os-release; echo "$VERSION_CODENAME")" "$1"
    ok "archive of the base: $(stat -c %s "$1") bytes"
}

# The machine's own sources of apt, asked for source packages: no address is written here.
apt_sources() {
    apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/parts" "$work/distfiles"
    : > "$apt/sources.list"
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -f "$f" ]; then sed -n 's/^deb /deb-src /p' "$f" >> "$apt/sources.list"; fi
    done
    for f in /etc/apt/sources.list.d/*.sources; do
        if [ -f "$f" ]; then sed 's/^Types:.*/Types: deb-src/' "$f" > "$apt/parts/$(basename "$f")"; fi
    done
    apt_options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts"
        -o "Dir::State::lists=$apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
    apt-get "${apt_options[@]}" -qq update
}

# distinfo TREE: writes the distinfo of each port, with the hash of what apt brought and verified
distinfo() {
    local spec folder source archive dsc version
    for spec in "$1"/*/*/port.spec; do
        folder=$(dirname "$spec")
        source=$(sed -n 's/^# Debian source: //p' "$spec")
        source=${source:-$(basename "$folder")}
        (cd "$work/distfiles" && apt-get "${apt_options[@]}" -qq source --download-only "$source" > /dev/null 2>&1) || true
        archive=$(ls "$work/distfiles/${source}"_*.orig.tar.* 2> /dev/null | grep -v '\.asc$' | head -n 1) || true
        if [ -z "$archive" ]; then
            echo "the sources of $source did not arrive: $folder is left out" >&2
            rm -r "$folder"
            continue
        fi
        version=$(basename "$archive")
        version=${version#"$source"_}
        version=${version%%.orig.tar.*}
        {
            echo "version: $version"
            echo "distfiles: $(basename "$archive") sha256:$(sha256sum < "$archive" | cut -d ' ' -f 1)" \
                "size:$(stat -c %s "$archive") file://$archive"
        } > "$folder/distinfo"
    done
    rm -f "$work"/distfiles/*.dsc "$work"/distfiles/*.debian.tar.* "$work"/distfiles/*.diff.gz
}
