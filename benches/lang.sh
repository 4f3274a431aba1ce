#!/bin/sh
# Speed of the language, the whole program included: sh benches/lang.sh
# Builds what it needs. Figures of a machine that others use vary: the best of many runs is shown.
set -e
cd "$(dirname "$0")/.."
cargo build --release --bin mstore
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
MSTORE=$target/release/mstore cargo bench -p mstore-lang "$@"
