#!/usr/bin/env bash
# Stages of real Portage by ways that take minutes each and that .ci/run has no room for: see doc/specs.md, "What is
# shown, and by what". Takes what tests/portage/run.sh takes.
set -euo pipefail
CASES="${CASES:-chain check_all cutoff normalisers strategies manual_whole}" exec "$(dirname "$0")/../portage/run.sh" "$@"
