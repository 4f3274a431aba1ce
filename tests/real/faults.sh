#!/usr/bin/env bash
# `mstore realise` as a whole, while the disk fails: strace makes one call of it on the store fail, or kills
# the process there. Afterwards the exit status must be as documented, nothing may be left behind, the store
# must be sound, and the next run must complete with the same tree without building again what was built.
# Some of the calls are tried; with MSTORE_TEST_FAULTS=all every one.
#
#   MSTORE=target/release/mstore tests/real/faults.sh [WORK]
set -euo pipefail
# In a namespace of its own no other process is anybody's but a run's that ended.
if [ -z "${MSTORE_TEST_INSIDE:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "FAILED: must run as root" >&2; exit 1; }
    MSTORE_TEST_INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$@"
fi
here=$(cd "$(dirname "$0")" && pwd)
MSTORE=$(realpath "${MSTORE:-$here/../../target/release/mstore}")
work=${1:-$(mktemp -d /var/tmp/mstore-faults.XXXXXX)}
some=${MSTORE_TEST_ROUNDS:-60}
. "$here/lib/assert.sh"
cleanup() { [ $# -gt 0 ] || [ -n "${KEEP:-}" ] || rm -rf "$work"; }
trap cleanup EXIT
mkdir -p "$work"
cd "$work"
store=$work/store
calls=openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,ftruncate,fallocate

m() { "$MSTORE" --store "$store" -f "$work/specs/metro.conf" "$@"; }
# traced STRACE-OPTION...: realise under strace, which lets go of what a step executes; output to out, err, trace
traced() {
    # A shell of its own, for it says aloud what was killed.
    bash -c '"$@" > out 2> err; exit $?' sh \
        strace -f -b execve -y -s 0 -o trace -e trace=$calls "$@" \
        "$MSTORE" --store "$store" -f "$work/specs/metro.conf" realise stage1-amd64 --json 2> /dev/null
}
# joined: the trace with calls in one piece that another thread's interrupted
joined() {
    awk '{ pid = $1 }
        / <unfinished \.\.\.>$/ { sub(/ <unfinished \.\.\.>$/, ""); open[pid] = $0; next }
        /^[0-9]+ +<\.\.\. [a-z0-9]+ resumed>/ { sub(/^[0-9]+ +<\.\.\. [a-z0-9]+ resumed>/, ""); $0 = open[pid] $0 }
        { print }' "$work/trace"
}
# begin: the store as it is before the first build
begin() { rm -rf "$store"; cp -a "$work/before" "$store"; }
# leftovers: mounts and processes of a run that ended
leftovers() {
    local p stat
    while read -r stat; do
        case "$stat" in *"$store"*) echo "mount $stat" ;; esac
    done < /proc/self/mounts
    for p in /proc/[0-9]*; do
        p=${p#/proc/}
        [ "$p" != 1 ] && [ "$p" != "$BASHPID" ] && read -r stat 2> /dev/null < "/proc/$p/stat" || continue
        case "$stat" in *") Z "*) ;; *) echo "process $stat" ;; esac
    done
}

make_specs() {
    mkdir -p specs/targets
    cat > specs/metro.conf <<'EOF'
[section list]
builds: faults
arches: x86-64bit
subarches/x86-64bit: amd64
targets: stage1

[section default]
build: faults

[collect ./targets/$[target:zap].conf]
EOF
    cat > specs/targets/stage1.conf <<'EOF'
[section target]
platform: x86_64

[section source]
: seed
seed: tiny

[section steps]
chroot: one two

[section reads]
one:
two:

[section steps/chroot]
one: [
#!/bin/sh
set -eu
mkdir /one
echo "the log of one"
for i in 1 2 3 4; do echo "file $i" > /one/$i; done
]
two: [
#!/bin/sh
set -eu
mkdir /two
cp -R /one /two/
rm /one/3
echo "the log of two"
]
EOF
}

# A shell and three programs of this machine, with the libraries that they load.
make_seed() {
    local tool path library
    mkdir -p seed/bin seed/etc seed/tmp seed/usr seed/proc seed/sys seed/dev
    for tool in sh mkdir cp rm; do
        path=$(readlink -f "$(command -v "$tool")")
        cp "$path" "seed/bin/$tool"
        for library in $(ldd "$path" | grep -o '/[^ ]*'); do
            mkdir -p "seed$(dirname "$library")"
            [ -e "seed$library" ] || cp "$(readlink -f "$library")" "seed$library"
        done
    done
}

section "a store with a seed, and what a run does without faults"
make_specs
make_seed
m seed import seed --name tiny > /dev/null 2>&1
cp -a "$store" "$work/before"
traced || { cat err; fail "realise does not work under strace"; }
tree=$(field tree < out)
equal "steps built" "$(field built < out)" 2
# Counted like strace counts: each thread and each call by itself.
joined | awk -v store="$store/" '
    match($2, /^[a-z0-9]+\(/) {
        call = substr($2, 1, RLENGTH - 1)
        n = ++count[$1, call]
        if (index($0, store) && (call != "openat" || /O_CREAT/)) print call, n
    }' | sort -u -k1,1 -k2,2n > on-store
echo "$(wc -l < on-store) calls on the store, by kind: $(cut -d' ' -f1 on-store | uniq -c | awk '{ printf "%s%s %s", sep, $1, $2; sep = ", " }')"

# All faults of all these calls. A full disk stays full; there is no room to run out of where a name goes.
while read -r call n; do
    echo "$call $n signal=SIGKILL"
    echo "$call $n error=EIO"
    case "$call" in
        unlink*) ;;
        # These also go where no store is.
        write|openat) echo "$call $n error=ENOSPC"; echo "$call $n error=EDQUOT" ;;
        *) echo "$call $n+ error=ENOSPC"; echo "$call $n+ error=EDQUOT" ;;
    esac
done < on-store > all-faults
count=$(wc -l < all-faults)
step=1
[ "${MSTORE_TEST_FAULTS:-}" = all ] || step=$(((count + some - 1) / some))
# Neighbours are the faults of one call: a step that 2 does not divide meets all kinds.
[ $((step % 2)) = 1 ] || step=$((step + 1))
awk -v step="$step" 'NR % step == 1 || step == 1' all-faults > faults

# tell WHAT: fails with all that is known of this round
tell() { echo "fault: $fault"; echo "exit status: $got"; cat err; grep INJECTED <(joined) | head -n 5; fail "$*"; }

round() {
    local call=$1 n=$2 what=$3 hit elsewhere acknowledged rebuilt i
    fault="$*"
    begin
    got=0
    traced -e "inject=$call:$what:when=$n" || got=$?
    for i in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(leftovers)" ] || break
        sleep 0.2
    done
    [ -z "$(leftovers)" ] || tell "left behind: $(leftovers)"
    grep -qi 'panicked' err && tell "it panicked"
    hit=$(joined | grep -c INJECTED || true)
    elsewhere=$(joined | grep INJECTED | grep -vcF "$store/" || true)
    case "$what,$got" in
        signal=*,137) outcome=killed ;;
        *,0) outcome=completed; [ "$hit" -gt 0 ] || outcome="not met" ;;
        # A library, say, that could not be loaded.
        error=*) outcome="refused elsewhere"; [ "$elsewhere" -gt 0 ] || outcome=refused ;;
        *) tell "killed by nobody" ;;
    esac
    if [ "$outcome" = refused ]; then
        [ "$got" = 3 ] || tell "another exit status than 3"
        grep '^error: ' err | grep -qF "$store" || tell "the message does not name the path"
    fi
    acknowledged=$(grep -c '^built ' err || true)
    m store verify > verify 2>&1 || { cat verify; tell "the store is damaged"; }
    m realise stage1-amd64 --json > out 2> again || { cat again; tell "the next run does not complete"; }
    [ "$(field tree < out)" = "$tree" ] || tell "another tree"
    rebuilt=$(field built < out)
    [ "$rebuilt" -le $((2 - acknowledged)) ] || tell "what was built is built again"
    [ -z "$(ls "$store/tmp")" ] || tell "temporary folders stay: $(ls "$store/tmp")"
    [ -z "$(ls "$store/sessions" | grep -v '\.new$')" ] || tell "sessions stay"
    echo "${what#*=} $outcome" >> outcomes
}

section "$(wc -l < faults) of $count faults"
: > outcomes
while read -r call n what <&3; do
    round "$call" "$n" "$what"
done 3< faults
sort outcomes | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)/  \2: \1/'
ok "$(wc -l < faults) faults: nothing lost, nothing left, the same tree"
summary
