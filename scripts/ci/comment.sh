#!/usr/bin/env bash
# The second job of gpu-regression.yml: put the gate's report under the pull request.
#
#   scripts/ci/comment.sh NUMBER REPORT      NUMBER of the pull request, REPORT a Markdown file
#
# Needs gh with a token that may write comments, and nothing of the checkout.
set -euo pipefail
number=${1:?usage: scripts/ci/comment.sh NUMBER REPORT}
report=${2:?usage: scripts/ci/comment.sh NUMBER REPORT}
case $number in
    *[!0-9]* | "") echo "pull request '$number': expected a number" >&2; exit 2 ;;
esac
if [ ! -s "$report" ]; then
    # The gate came to no decision: say so instead of leaving an older report as the last word.
    report=$(mktemp)
    trap 'rm -f "$report"' EXIT
    printf '## Quality gate: no decision\n\nThe run ended before the gate; see its log.\n' > "$report"
fi
if [ "$(wc -c < "$report")" -gt 60000 ]; then  # GitHub takes 65536 characters
    echo "$report: found more than 60000 bytes, expected a short report" >&2
    exit 2
fi
gh pr comment "$number" --body-file "$report" --edit-last --create-if-none
