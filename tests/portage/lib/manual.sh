# The commands of doc/stages.md, as they stand there, and those that doc/catalyst.md names; sourced by run.sh. A
# command that is added to doc/stages.md is run by itself; one that needs more than is here is named below, with the
# reason, or the case fails.

# Commands that only tests/long/portage.sh runs: what each takes.
manual_long=(
    'mstore realise --check stage3-generic_64|builds stage3 once more, which case_rootless does anyway'
    'mstore export stage3-generic_64 stage3-generic_64.tar.xz|compresses 400 MB with xz'
    'mstore export lxc-generic_64 lxc-generic_64.tar.xz|the same'
    'mstore export lxd-generic_64 lxd-generic_64.tar.xz|the same'
    'mstore realise stage3-freshen-generic_64|with another epoch, all of it; case_freshen builds it with the same one'
)

# What doc/catalyst.md names, and what is run for it, since a table has no room for whole commands.
catalyst=(
    'mstore export|mstore export lxd-generic_64 --to image'
    'mstore gc|mstore gc --dry-run'
    'mstore log|mstore log stage3-generic_64'
    'mstore realise --rebuild|mstore realise --rebuild openvz-generic_64'
    'mstore realise -j|mstore realise -j 2 stage3-generic_64'
    # Programs for a Zen 4 do not start everywhere, so its stage is planned only.
    'mstore realise gentoo/stage3-amd64-zen4|mstore realise -n gentoo/stage3-amd64-zen4 -D user/seed=gentoo/x86-64bit/generic_64/stage3'
    # It needs a mirror: tests/repo and tests/buildrepo have it.
    'mstore repo digestgen|'
    'mstore snapshot import --rev|mstore snapshot import guru.git --rev main --name guru'
    'mstore snapshot import DIR --name gentoo|mstore snapshot import gentoo --name gentoo --epoch 1790000000'
)

case_manual() { run_manual quick; }
case_manual_whole() { run_manual whole; }

# run_manual quick|whole
run_manual() {
    local folder=$work/manual line entry reason left ran=0 used=0
    rm -rf "$folder" "$work/media"
    mkdir -p "$folder/kits" "$work/media"
    # What the page speaks of lies in the folder of the user.
    cp -R --reflink=auto "$work/tree" "$folder/gentoo"
    ln -s "$work/seed.tar" "$folder/stage3-amd64-openrc.tar.xz"
    cp -R "$work/overlay" "$folder/guru"
    cp -R "$work/overlay" "$folder/kits/core-kit"
    cp -R "$work/overlay" "$folder/kits/lang-kit"
    cp "$work/conf/metro.lock" "$work/metro.lock"
    while read -r line; do
        left=
        for entry in "${manual_long[@]}"; do
            reason=${entry#*|}
            [ "${entry%%|*}" != "$line" ] || left=$reason
        done
        if [ -n "$left" ]; then used=$((used + 1)); fi
        if [ -n "$left" ] && [ "$1" = quick ]; then
            echo "left to tests/long: $line ($left)"
            continue
        fi
        run_line "$folder" "$line"
        ran=$((ran + 1))
    done < <(python3 "$here/lib/commands.py" blocks "$here/../../doc/stages.md")
    equal "commands named above that the page has" "$used" "${#manual_long[@]}"
    [ "$ran" -ge 20 ] || fail "only $ran commands of the page were found"
    ok "$ran commands of doc/stages.md"
    looked_at "$folder"
    cp "$work/metro.lock" "$work/conf/metro.lock"
    run_catalyst "$folder"
    cp "$work/metro.lock" "$work/conf/metro.lock"
    rm -rf "$folder" "$work/media"
}

# run_catalyst FOLDER
run_catalyst() {
    local entry named
    named=$(printf '%s\n' "${catalyst[@]%%|*}")
    equal "commands that doc/catalyst.md names" "$(python3 "$here/lib/commands.py" text "$here/../../doc/catalyst.md" | tr "\n" ";")" "$(echo "$named" | tr "\n" ";")"
    git init -q -b main "$1/guru.git"
    cp -R "$work/overlay/." "$1/guru.git"
    git -C "$1/guru.git" add -A
    git -C "$1/guru.git" -c user.name=t -c user.email=t@example.org commit -qm overlay
    for entry in "${catalyst[@]}"; do
        if [ -n "${entry#*|}" ]; then run_line "$1" "${entry#*|}"; fi
    done
}

# run_line FOLDER COMMAND: hashes and places of the page are those of this machine
run_line() {
    local folder=$1 line=$2 trees
    case "$line" in
    "mstore lock --seed"*) line=${line/TREE/$stage3} ;;
    # The page has two in place of all that the lock file names.
    "mstore copy TREE TREE "*)
        trees=$(sed -n 's/^tree: *//p' "$work/metro.lock" | sort -u | tr '\n' ' ')
        line=${line/TREE TREE/$trees}
        ;;
    esac
    line=${line//\/media\/disk/$work/media}
    run_in "$folder" "$line" > "$work/out" 2> "$work/err" < /dev/null || { tail -n 40 "$work/out" "$work/err"; fail "doc/stages.md: $2"; }
    ok "$2"
}

# run_in FOLDER COMMAND: by the shell, with the store and configuration of the test
run_in() {
    (
        cd "$1"
        mstore() { m "$@"; }
        eval "$2"
    )
}

# looked_at FOLDER: what the commands have left there
looked_at() {
    local name
    for name in stage3-generic_64.squashfs medium disk; do
        [ -e "$1/$name" ] || fail "the commands of the page did not make $name"
    done
    unsquashfs -n -q -d "$1/unpacked" "$1/stage3-generic_64.squashfs" etc/group > /dev/null
    cmp "$1/unpacked/etc/group" <(m store cat "$stage3:etc/group") || fail "the published stage3 differs"
    [ -s "$1/medium/image.squashfs" ] && [ -s "$1/disk/disk.img" ] || fail "the images of the page are not there"
    ok "what the page publishes: $(cd "$1" && echo ./*.squashfs medium/* disk/*)"
}
