#!/usr/bin/env bash
# Requests a second of `mstore serve`, with wrk: small files, the listing of a tree of 2,000 files, a pack; then the
# same small file beside a thousand clients that say nothing. Prints figures.
# Usage: MSTORE=target/release/mstore benches/serve/run.sh [SECONDS]
set -euo pipefail
mstore=$(realpath "${MSTORE:-target/release/mstore}")
seconds=${1:-5}
command -v wrk > /dev/null || { echo "wrk is not installed (apt-get install wrk)" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/mstore-serve.XXXXXX")
server= idle=
trap '[ -z "$server" ] || kill "$server"; [ -z "$idle" ] || kill "$idle"; rm -rf "$work"' EXIT
ulimit -n "$(ulimit -H -n)"
mkdir "$work/in"
for n in $(seq 2000); do
    mkdir -p "$work/in/d$((n % 50))"
    echo "file $n" > "$work/in/d$((n % 50))/f$n"
done
head -c 20000000 /dev/urandom > "$work/in/large"
cd "$work"
tree=$("$mstore" --store store seed import in --name s | tail -n 1)
"$mstore" --store store serve --listen 127.0.0.1:0 --json > told &
server=$!
until [ -s told ]; do sleep 0.1; done
url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' told)
pack=$(ls -S store/packs | grep 'pack$' | head -n 1)
measure() {
    printf '%-34s' "$1"
    wrk -t2 -c"$2" -d"${seconds}s" --latency "$url/$3" |
        awk '/99%/ { late = $2 } /Requests\/sec/ { rate = $2 } /Transfer\/sec/ { bytes = $2 }
             /Socket errors/ { errors = " (" $0 ")" } END { print rate " requests/s, 99 % within " late ", " bytes "/s" errors }'
}
measure "a small file, 16 connections" 16 mstore-cache
measure "a listing, 16 connections" 16 "trees/$tree"
measure "an index, 16 connections" 16 "packs/${pack%.pack}.index"
measure "a pack, 4 connections" 4 "packs/$pack"
measure "a small file, 1000 connections" 1000 mstore-cache
python3 - "${url#http://}" << 'PY' &
import socket, sys, time
host, port = sys.argv[1].split(":")
crowd = [socket.create_connection((host, int(port))) for _ in range(1000)]
time.sleep(600)
PY
idle=$!
sleep 3
measure "the same beside 1000 idle ones" 16 mstore-cache
