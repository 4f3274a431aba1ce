#!/usr/bin/env bash
# All cases of tests/reapi, also those that take long (1,000 queued steps, 200 ports, cables pulled for longer than an
# engine waits), then the short ones again behind BuildGrid 0.9.1. Needs root; takes half an hour.
#
#   MSTORE=target/release/mstore tests/long/reapi.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
# Linked statically: the sandbox of buildbox-casd has no libraries.
make -s worker
python3 tests/reapi/run.py --long
MSTORE_BUILDGRID=0.9 python3 tests/reapi/run.py
