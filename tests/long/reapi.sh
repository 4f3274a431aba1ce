#!/usr/bin/env bash
# All cases of tests/reapi, also those that take long (1,000 queued steps, 200 ports, cables pulled for longer than an
# engine waits), those that lose something again with workers that are not ours, then the short ones behind BuildGrid
# 0.9.1. Needs root; takes half an hour.
#
#   MSTORE=target/release/mstore tests/long/reapi.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
# Linked statically: the sandbox of buildbox-casd has no libraries.
make -s worker
python3 tests/reapi/run.py --long
python3 tests/reapi/run.py --stock plain worker_killed engine_restarted engine_emptied evicted result_evicted calls_fail queue killed
MSTORE_BUILDGRID=0.9 python3 tests/reapi/run.py
