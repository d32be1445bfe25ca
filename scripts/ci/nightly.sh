#!/usr/bin/env bash
# The job of nightly.yml: make a whole suite on all GPUs of the machine, and compare it with
# what is committed.
#
#   scripts/ci/nightly.sh [SUITE] [REPORT_FOLDER]
#
# Stages run on the CPU unless DREAMFUSION_DEVICE says otherwise, as the workflow's does.
# A failed asset does not stop the others and is listed by `suite run`, whose status this
# script then ends with; the gate's status counts where the run succeeded.
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:-toybox-128}
report=${2:-.work/ci}
export PATH="$PWD/.venv/bin:$PATH"
mkdir -p "$report"
status=0
dreamfusion-kit suite run "$suite" --jobs auto 2>&1 | tee "$report/run.log" || status=$?
if [ "$status" != 0 ]; then
    echo "suite run: ended with status $status; see $report/run.log" >&2
    exit "$status"
fi
dreamfusion-kit gate --against HEAD --suite "$suite" --markdown "$report/gate.md"
