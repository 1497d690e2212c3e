#!/usr/bin/env bash
# Make a virtual environment: make_venv.sh PYTHON FOLDER
set -euo pipefail
python=$1
folder=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed: '$python' is older. Set PYTHON=/path/to/python3.11." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian keeps venv in a package of its own.
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "This Python cannot make virtual environments: install $package and try again." >&2
        exit 1
    fi
    apt-get update -qq && apt-get install -y -qq "$package"
fi
"$python" -m venv "$folder"
