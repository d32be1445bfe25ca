#!/usr/bin/env bash
# The job of gpu-regression.yml: bring a suite up to date, and refuse a fall of its quality.
#
#   scripts/ci/gpu_regression.sh BASE [SUITE] [REPORT_FOLDER]
#
# BASE is the revision to compare with, as origin/main. Stages run on the CPU unless
# DREAMFUSION_DEVICE says otherwise, as the workflow's does. Writes REPORT_FOLDER/gate.md and
# REPORT_FOLDER/metrics.json. Exit status: the gate's (0 passed, 1 refused, 2 not comparable),
# or that of the command that failed before it.
set -euo pipefail
cd "$(dirname "$0")/../.."
base=${1:?usage: scripts/ci/gpu_regression.sh BASE [SUITE] [REPORT_FOLDER]}
suite=${2:-toybox-16}
report=${3:-.work/ci}
export PATH="$PWD/.venv/bin:$PATH"
case $suite in
    *[!a-z0-9_-]* | "") echo "suite '$suite': expected a name of a-z, 0-9, _ and -" >&2; exit 2 ;;
esac
mkdir -p "$report"
report=$(cd "$report" && pwd)
rm -f "$report/gate.md" "$report/metrics.json"  # of an earlier run

project=.  # the folder of the suite's dvc.yaml files
[ "$suite" = default ] || project=suites/$suite
if [ ! -d "$project" ]; then
    echo "suite '$suite': found no folder $project" >&2
    exit 2
fi
if [ -n "$(dvc remote list)" ]; then
    (cd "$project" && dvc pull --run-cache --allow-missing)
fi
if [ "$suite" = default ]; then
    dvc repro --pull --allow-missing
else
    (cd "$project" && dvc repro --pull --allow-missing --all-pipelines)
fi

status=0
dreamfusion-kit gate --against "$base" --suite "$suite" --markdown "$report/gate.md" || status=$?
for metrics in "$project/metrics/$suite.json" "metrics/$suite.json"; do
    if [ -f "$metrics" ]; then
        cp "$metrics" "$report/metrics.json"
        break
    fi
done
exit "$status"
