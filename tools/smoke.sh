#!/usr/bin/env bash
# Install the lock on another version of Python and run some tests there: smoke.sh 3.12 [OPTION...]
#
# The tests are those of the models and of the whole way from a request to its predictions; options
# are pytest's.
set -euo pipefail
version=$1
venv=.venv-$version

runs() { "$1" -c 'import sys' 2>/dev/null; }
python=python$version
if ! runs "$python" && latest=$(pyenv latest "$version" 2>/dev/null); then
    python=$(pyenv prefix "$latest")/bin/python  # pyenv's own commands run one version only
fi
if ! runs "$python"; then
    echo "Python $version is not on this machine: not tried."
    exit 0
fi
[ -x "$venv/bin/python" ] || tools/make_venv.sh "$python" "$venv"
tools/install.sh "$venv" requirements.txt requirements-dev.txt requirements-ray.txt requirements-playground.txt requirements-heic.txt requirements-otel.txt
"$venv/bin/python" --version
"$venv/bin/python" -m pytest -q -p no:cacheprovider "${@:2}" \
    tests/core/test_boxes.py tests/images/test_decode.py \
    tests/models/test_pipeline.py tests/label_studio/test_predicting.py tests/models/detectors/test_huggingface_build.py \
    tests/demo/test_demo.py::test_the_documented_curl_call
