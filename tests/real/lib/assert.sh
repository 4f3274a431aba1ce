# Assertions and bookkeeping; sourced.
passed=0
section() { printf '\n== %s\n' "$*"; section_started=$SECONDS; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
ok() { passed=$((passed + 1)); printf 'ok: %s\n' "$*"; }
run() { printf '$ %s\n' "$*" | sed "s#$work#WORK#g"; "$@"; }
equal() { [ "$2" = "$3" ] || fail "$1: expected '$3', got '$2'"; ok "$1: $2"; }
# field NAME: one field of the JSON line on standard input
field() { python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())[sys.argv[1]])' "$1"; }
# status WANT COMMAND...: the command must end with that exit status
status() {
    local want=$1 got=0; shift
    "$@" || got=$?
    [ "$got" = "$want" ] || fail "exit status $got instead of $want: $*"
}
summary() { printf '\n%d passed, 0 failed\n' "$passed"; }
