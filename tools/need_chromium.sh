#!/usr/bin/env bash
# Install Debian's chromium unless it is there.
set -euo pipefail
command -v chromium >/dev/null && exit
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The end-to-end tests need a browser: install the package chromium and try again." >&2
    exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
