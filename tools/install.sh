#!/usr/bin/env bash
# Install locks into a virtual environment: install.sh VENV LOCK...
#
# uv does it in a fraction of pip's time; where uv cannot be had, pip does it. On a machine
# without an NVIDIA GPU, PyTorch's build without CUDA is taken where PyTorch's index answers: it
# is 4 GB smaller. Elsewhere all comes from the package registry.
set -euo pipefail
venv=$1
shift
python=$venv/bin/python
pip_install() { "$python" -m pip install --disable-pip-version-check --quiet "$@"; }

wanted=$(mktemp)
trap 'rm -f "$wanted" "$wanted.torch"' EXIT
# One list: what several locks name, they name alike.
cat "$@" | grep -vE '^ *(#|$)' | sort -u > "$wanted"

if ! pip_install "$(grep -hE '^uv==' "$(dirname "$0")/../requirements-dev.txt")"; then
    echo "uv cannot be had here: pip installs, which takes longer." >&2
    pip_install --no-deps -r "$wanted"
    exit
fi
uv_install() { "$python" -m uv pip install --quiet --python "$python" --no-deps "$@"; }

if grep -qE '^torch==' "$wanted" && [ "$(uname -s)" = Linux ] && [ ! -e /proc/driver/nvidia ]; then
    grep -E '^(torch|torchvision)==' "$wanted" > "$wanted.torch"
    if UV_HTTP_TIMEOUT=15 uv_install --torch-backend cpu -r "$wanted.torch" 2>/dev/null; then
        sed -i -E '/^(torch|torchvision|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/d' "$wanted"
    else
        echo "PyTorch's index does not answer: its build with CUDA is installed, 4 GB more." >&2
    fi
fi
uv_install -r "$wanted"
