# What must hold, one function a case; sourced by run.sh. They run in order on one store.

realise() { m realise --json "$@" stage3-amd64; }
# built_by REALISE-OUTPUT-FILE: names of the nodes that were built, one a line, sorted
built_nodes() { sed -n 's/^built \([^ ]*\) .*/\1/p' "$1" | sort | tr '\n' ' ' | sed 's/ $//'; }

case_chain() {
    realise > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "the chain did not build"; }
    tree=$(field tree < "$work/out")
    equal "nodes built" "$(field built < "$work/out")" 7
    run m export stage3-amd64 "$work/stage3.tar"
    tar -tf "$work/stage3.tar" > "$work/list"
    for f in usr/local/bin/dash usr/local/bin/ed usr/local/bin/bzip2 usr/local/lib/libz.a etc/os-release.real; do
        grep -qE "^(\./)?$f$" "$work/list" || fail "$f is not in stage3"
    done
    grep -q left-behind "$work/list" && fail "a test phase changed the stage"
    ok "stage3 holds the four programs, and nothing that its test left behind"
    equal "the programs run in the finished stage" \
        "$(m shell stage3-amd64 -- /usr/local/bin/dash -c 'echo works; bzip2 --help 2>&1 | head -c 5')" "$(printf 'works\nbzip2')"
}

case_nothing_to_do() {
    realise > "$work/out" 2> "$work/err"
    equal "second realise builds" "$(field built < "$work/out")" 0
    equal "same tree" "$(field tree < "$work/out")" "$tree"
}

case_comment_in_last_script() {
    sed -i 's/^printf .NAME=real/# a comment\n&/' "$work/specs/targets/stage3.conf"
    realise > "$work/out" 2> "$work/err"
    # The last script runs again; it gives the same tree, so the test need not.
    equal "a comment in stage3's last script reruns" "$(built_nodes "$work/err")" "stage3-amd64:finish"
    equal "same tree" "$(field tree < "$work/out")" "$tree"
}

case_one_source_changed() {
    # A comment in one C file: dash is compiled again, the program is the same, all else is reused.
    sed -i '1i /* a comment */' "$work/sources/dash/src/main.c"
    run m snapshot import "$work/sources" --name sources
    realise > "$work/out" 2> "$work/err"
    equal "a comment in one source file rebuilds" "$(built_nodes "$work/err")" "stage2-amd64:dash"
    # A change that shows: what stands on dash is built again, stage1 is not.
    sed -i 's/hello/hello/; $a int mstore_test_mark = 42;' "$work/sources/ed/main.c"
    run m snapshot import "$work/sources" --name sources
    realise > "$work/out" 2> "$work/err"
    equal "a change to ed's source rebuilds" "$(built_nodes "$work/err")" \
        "stage3-amd64:ed stage3-amd64:finish stage3-amd64:test"
    tree=$(field tree < "$work/out")
}

case_early_cutoff() {
    sed -i 's/^make install DESTDIR=.*/: changed, to no effect\n&/' "$work/specs/targets/stage1.conf"
    realise > "$work/out" 2> "$work/err"
    equal "a change of stage1 without effect rebuilds" "$(built_nodes "$work/err")" "stage1-amd64:zlib"
    equal "same tree" "$(field tree < "$work/out")" "$tree"
}

case_elsewhere() {
    # Another user, store, folder, host name, time zone, locale and umask, as root and rootless.
    local user=mstore-test home=$work/elsewhere/a\ home
    id "$user" >/dev/null 2>&1 || useradd -m -d "/var/tmp/$user" "$user"
    grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 --add-subgids 300000-365535 "$user"
    mkdir -p "$home" && cp -R "$work/specs" "$work/sources" "$home/"
    cp "$work/seed.tar" "$home/" && rm -f "$home/specs/metro.lock"
    install -m 755 "$MSTORE" "$work/elsewhere/mstore"
    chmod 755 "$work/elsewhere"; chown -R "$user:" "$home"
    local script='
        set -e
        umask 077; hostname elsewhere; cd "$1"
        export HOME="$1" TZ=Asia/Kathmandu LC_ALL=tr_TR.UTF-8 MSTORE_STORE="$1/st ore"
        m() { ../mstore -f specs/metro.conf "$@"; }
        m seed import seed.tar --name debian >&2
        m snapshot import sources --name sources >&2
        m realise --json stage3-amd64'
    unshare --uts -- setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all \
        bash -c 'true' || fail "cannot run as $user"
    # The host name is set by root before privileges are dropped.
    unshare --uts bash -c 'hostname elsewhere; exec setpriv --reuid "$1" --regid "$1" --init-groups bash -c "$2" sh "$3"' sh \
        "$user" "${script/hostname elsewhere; /}" "$home" > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "rootless build"; }
    equal "an ordinary user gets the same tree" "$(field tree < "$work/out")" "$tree"
    equal "having built" "$(field built < "$work/out")" 7
}

# of_another PROCESS: whether a living mstore with another store started it
of_another() {
    local p=$1
    while [ "${p:-0}" -gt 1 ]; do
        case "$(tr '\0' ' ' 2>/dev/null < "/proc/$p/cmdline")" in
        *" --store $store "*) return 1 ;;
        */mstore\ *) return 0 ;;
        esac
        p=$(awk '/^PPid:/ { print $2 }' "/proc/$p/status" 2>/dev/null)
    done
    return 1
}

# leftovers: mounts, processes and temporary folders that a build has left
leftovers() {
    grep -F "$store" /proc/self/mounts || true
    for p in /proc/[0-9]*; do
        case "$(tr '\0' ' ' 2>/dev/null < "$p/cmdline")" in
        *"$store"*) echo "${p#/proc/}" ;;
        */mstore/step*) of_another "${p#/proc/}" || echo "${p#/proc/}" ;;
        esac
    done
}

case_killed_at_random() {
    local i pid delay store2=$work/store-kill first_store=$store
    store=$store2
    m seed import "$work/seed.tar" --name debian > /dev/null
    m snapshot import "$work/sources" --name sources > /dev/null
    for i in 1 2 3 4 5 6 7 8 9 10; do
        delay=$(awk -v s="$RANDOM" 'BEGIN { printf "%.2f", 0.05 + s / 32768 * 5 }')
        "$MSTORE" --store "$store" -f "$work/specs/metro.conf" realise --json stage3-amd64 > "$work/out" 2> "$work/err" &
        pid=$!
        sleep "$delay"
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        # The kernel ends what was in the sandbox; on a busy machine that takes a while.
        for _ in $(seq 50); do
            [ -n "$(leftovers)" ] || break
            sleep 0.1
        done
        [ -z "$(leftovers)" ] || fail "after kill $i ($delay s): $(leftovers)"
    done
    ok "killed ten times; no process and no mount left"
    realise > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "does not complete after the kills"; }
    equal "completes with the same tree" "$(field tree < "$work/out")" "$tree"
    status 0 m store verify
    equal "temporary folders left" "$(ls "$store/tmp" 2>/dev/null | wc -l)" 0
    store=$first_store
}

case_failing_script() {
    cp "$work/specs/targets/stage3.conf" "$work/stage3.conf.good"
    sed -i 's/^name=ed$/&\necho marker-in-root > \/marker; echo the last words; exit 7/' "$work/specs/targets/stage3.conf"
    local got=0
    realise > "$work/out" 2> "$work/err" || got=$?
    equal "exit status of a failing script" "$got" 1
    grep -q 'stage3-amd64:ed' "$work/err" || { cat "$work/err"; fail "the failing step is not named"; }
    grep -q 'the last words' "$work/err" || { cat "$work/err"; fail "the log's last lines are not shown"; }
    ok "the failing step and its last words are shown"
    equal "shell enters the failed root" "$(m shell stage3-amd64 -- /bin/sh -c 'cat /marker')" marker-in-root
    cp "$work/stage3.conf.good" "$work/specs/targets/stage3.conf"
    realise > "$work/out" 2> "$work/err"
    equal "after the fix nothing else is rebuilt" "$(field built < "$work/out")" 0
    status 1 m shell stage3-amd64 -- /bin/sh -c 'test -e /marker'
    ok "and shell enters the finished root again"
}

case_disk_full() {
    local first_store=$store free
    truncate -s 2500M "$work/small.img"
    mkfs.ext4 -q "$work/small.img"
    mkdir -p "$work/small" && mount -o loop "$work/small.img" "$work/small"
    store=$work/small/store
    m seed import "$work/seed.tar" --name debian > /dev/null
    m snapshot import "$work/sources" --name sources > /dev/null
    free=$(df --output=avail -B1M "$work/small" | tail -n 1)
    fallocate -l "$((free - 40))M" "$work/small/filler"
    local got=0
    realise > "$work/out" 2> "$work/err" || got=$?
    equal "exit status with the disk full" "$got" 3
    grep -qi 'no space\|disk full\|full' "$work/err" || { cat "$work/err"; fail "the message does not say that the disk is full"; }
    ok "message: $(grep -i 'no space\|full' "$work/err" | head -n 1 | sed "s#$work#WORK#g")"
    status 0 m store verify
    status 0 m gc > /dev/null 2>&1
    ok "gc works on the full disk"
    rm "$work/small/filler"
    realise > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "does not complete with space again"; }
    equal "completes with the same tree once there is space" "$(field tree < "$work/out")" "$tree"
    umount "$work/small"
    store=$first_store
}

case_read_only() {
    local ro=$work/small got
    mount --bind "$store" "$ro" && mount -o remount,ro,bind "$ro"
    local first_store=$store
    store=$ro
    for asked in "list" "show stage3-amd64" "graph stage3-amd64" "why alive stage3-amd64" "log stage3-amd64" \
        "gc --dry-run" "store verify" "store info" "store ls stage3-amd64:etc" "export stage3-amd64 $work/ro.tar" \
        "copy stage3-amd64 --to $work/copied"; do
        # shellcheck disable=SC2086
        status 0 m $asked > /dev/null 2> "$work/err" || { cat "$work/err"; fail "$asked"; }
    done
    got=0
    m gc > /dev/null 2> "$work/err" || got=$?
    equal "gc of a read-only store ends with" "$got" 3
    ok "asking, export and copy work on a read-only store"
    umount "$ro"
    store=$first_store
}

case_damaged() {
    local key pack got=0
    key=$(m key generate real --out "$work/real.key" 2> /dev/null)
    run m copy stage3-amd64 --inputs --to "$work/cache" --cache --sign "$work/real.key"
    printf '%s\n' 'caches: near' '[section trust]' 'keys: [' "$key" ']' '[section cache/near]' "url: $work/cache" \
        > "$work/mstore.conf"
    pack=$(ls -S "$store"/packs/*.pack | head -n 1)
    printf 'damaged' | dd of="$pack" bs=1 seek="$(($(stat -c %s "$pack") / 2))" conv=notrunc status=none
    m store verify > "$work/out" 2>&1 || got=$?
    equal "verify of a damaged store ends with" "$got" 1
    grep -q "packs/$(basename "$pack")" "$work/out" || fail "verify does not name the file"
    m --config "$work/mstore.conf" store verify --repair > /dev/null 2>&1 || true
    status 0 m store verify
    realise --config "$work/mstore.conf" > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "realise after repair"; }
    equal "the same tree after damage and repair" "$(field tree < "$work/out")" "$tree"
    status 0 m store verify
    # Elsewhere nothing is built: all of it comes from the cache.
    rm -rf "$work/other"
    run "$MSTORE" --store "$work/other" -f "$work/specs/metro.conf" --config "$work/mstore.conf" \
        realise stage3-amd64 --json > "$work/out" 2> "$work/err" || { cat "$work/err"; fail "realise with a cache"; }
    tail -n 1 "$work/out" > "$work/line"
    equal "with a cache another store builds" "$(field built < "$work/line")" 0
    equal "and has the same tree" "$(field tree < "$work/line")" "$tree"
}
