#!/usr/bin/env bash
# Make .venv and what it needs; quick when nothing has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

# Open3D links against these even where nothing is drawn; Chromium is for the browser test.
libraries=(libusb-1.0-0 libgl1 libgomp1 libx11-6)
missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${libraries[@]}"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
    done
    command -v chromium >/dev/null || missing+=(chromium)
fi
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ]; then
        echo "setup: installing ${missing[*]}" >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "setup: missing system packages; run: sudo apt-get install ${missing[*]}" >&2
    fi
fi

stamp=.venv/.stamp
wanted=$(cat constraints.txt pyproject.toml | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: Python 3.11 or newer is needed; set PYTHON to one" >&2
    exit 2
}
echo "setup: installing the pinned packages into .venv (some minutes)" >&2
[ -d .venv ] || "${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
printf '%s' "$wanted" > "$stamp"
