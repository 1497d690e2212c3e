"""The tests run in several processes, whatever a test logs or fails with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

# Half a surrogate pair is what clients may send, and what no process can send to another.
TESTS = """
import logging

def test_logs():
    logging.getLogger().warning("half \\ud800")

def test_fails():
    assert "half \\ud800" == ""
"""


def test_half_a_surrogate_pair_is_reported_by_another_process(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-p", "tests.helpers.parallel", "test_it.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout
    assert "half \\ud800" in ran.stdout
