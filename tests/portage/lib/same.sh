# What makes builds the same everywhere: all of them once more in other surroundings, and without each of the
# things that need real Portage or the programs of a stage; sourced by run.sh. Cases of tests/long.

case_check_all() {
    local started=$SECONDS
    m realise --check=all stage3-generic_64 > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "a step comes out different"; }
    equal "steps of the chain that come out the same in other surroundings" "$(grep -c '^same ' "$work/err")" "$(m graph stage3-generic_64 --json |
        python3 -c 'import json, sys; print(sum(1 for node in json.load(sys.stdin)["nodes"] if node["name"].startswith("stage")))')"
    ok "in $((SECONDS - started)) s"
}

# A remark in an ebuild: what reads it is built once more, comes out as it was, and that is the end of it.
case_cutoff() {
    cp "$work/conf/metro.lock" "$work/metro.lock"
    echo '# another remark' >> "$work/tree/app-misc/unused/unused-1.ebuild"
    m snapshot import "$work/tree" --name gentoo --epoch "$epoch" > /dev/null
    realise stage1
    equal "what is built of stage1 after a remark" "$(built_nodes)" "stage1-generic_64:build"
    equal "what comes of it" "$(field tree < "$work/out")" "$stage1"
    cp "$work/metro.lock" "$work/conf/metro.lock"
}

# differs TARGET WHAT [OPTION...]: a target that is built twice comes out different
differs() {
    local target=$1 what=$2 got=0; shift 2
    realise "$target" "$@"
    m realise --check "$target-generic_64" "$@" > "$work/log" 2> "$work/err" || got=$?
    [ "$got" = 1 ] || { tail -n 20 "$work/err"; fail "without $what: exit status $got of a check"; }
    ok "without $what $(grep -c '^ ' "$work/err") lines tell of a difference: $(grep -m 1 '^ ' "$work/err" | tr -s ' ')"
}

case_normalisers() {
    local specs=$work/conf/specs/targets/portage standard=${SPECS:-$here/../../stdlib-specs}/targets/portage
    local entry file what expression target
    realise without -D without/script=true
    m realise --check without-generic_64 -D without/script=true > "$work/log" 2> "$work/err" || { tail -n 60 "$work/err"; fail "a package more comes out different"; }
    ok "a package more comes out the same"
    differs without BINPKG_COMPRESS -D "without/script=unset BINPKG_COMPRESS"
    equal "modules that were compiled" "$(in_tree 'find /usr/lib/python3/dist-packages/portage -name "*.pyc" | wc -l')" 0
    realise without -D "without/script=unset PYTHONDONTWRITEBYTECODE"
    [ "$(in_tree 'find /usr/lib/python3/dist-packages/portage -name "*.pyc" | wc -l')" -gt 20 ] || fail "nothing is compiled without PYTHONDONTWRITEBYTECODE"
    ok "without PYTHONDONTWRITEBYTECODE modules of Portage are compiled into the stage"
    # Of the scripts that make images, each part that is for that alone.
    for entry in \
        'diskimage.conf|the name of the file system|s/ -U "$uuid"//' \
        'diskimage.conf|the seed of hashes|s/hash_seed=$uuid,//' \
        'diskimage.conf|the time of the file system|s/^E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH //' \
        'diskimage.conf|times of folders|/^find .*-newermt/d' \
        'diskimage.conf|times that only the machine knows|s/^python3 - .image.disk.img/true/' \
        'copied.conf|files that are written whole|s/ --sparse=never//' \
        'livecd.conf|the time of the file system|s/^mksquashfs /env -u SOURCE_DATE_EPOCH mksquashfs /'; do
        file=${entry%%|*} what=${entry#*|} expression=${entry##*|} target=diskimage
        [ "$file" != livecd.conf ] || target=livecd
        sed "$expression" "$standard/$file" > "$specs/$file"
        ! cmp -s "$specs/$file" "$standard/$file" || fail "$what is not in $file any more"
        differs "$target" "${what%%|*}"
        if [ -n "${SPECS:-}" ]; then cp "$standard/$file" "$specs/$file"; else rm "$specs/$file"; fi
    done
}
