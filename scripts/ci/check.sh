#!/usr/bin/env bash
# The job of ci.yml: lint and every tier of tests that needs no GPU.
#
#   scripts/ci/check.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ] && [ "${CI:-}" = true ] && command -v sudo >/dev/null; then
    # As root `make setup` installs these itself; on a hosted runner only sudo may.
    sudo apt-get update -qq
    sudo apt-get install -y -qq --no-install-recommends libusb-1.0-0 libgl1 libgomp1 libx11-6
fi
make lint
make test
