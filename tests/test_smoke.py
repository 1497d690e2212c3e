"""`make smoke` goes on where a newer version of Python is missing, and says so."""

import subprocess
from pathlib import Path

import pytest

SMOKE = Path(__file__).parents[1] / "tools" / "smoke.sh"
# As pyenv does for a version that it does not have.
PYENV = """#!/bin/sh
echo "pyenv: no installed versions match the prefix 3.99" >&2
exit 1
"""


@pytest.mark.parametrize("has_pyenv", [True, False])
def test_a_version_that_is_missing_is_named_and_no_failure(
    tmp_path: Path, *, has_pyenv: bool
) -> None:
    if has_pyenv:
        pyenv = tmp_path / "pyenv"
        pyenv.write_text(PYENV)
        pyenv.chmod(0o755)
    ran = subprocess.run(
        [SMOKE, "3.99"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout == "Python 3.99 is not on this machine: not tried.\n", ran.stderr
    assert ran.returncode == 0
