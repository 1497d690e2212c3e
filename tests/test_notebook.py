"""The notebook in docs/ runs from its first cell to its last on the bundled models."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.parallel import threads

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "docs" / "labeler.ipynb"
MAX_BYTES = 60_000  # images in it are small


def code_cells() -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_every_cell_runs_after_those_before_it(tmp_path: Path) -> None:
    sources = ["".join(cell["source"]) for cell in code_cells()]
    assert len(sources) > 5
    ran = subprocess.run(
        [sys.executable, "-c", "\n\n".join(sources)], cwd=tmp_path,
        env={"PYTHONPATH": str(NOTEBOOK.parents[1]), **threads()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "blue star" in ran.stdout


def test_it_is_stored_with_its_outputs_and_is_small() -> None:
    outputs = [output for cell in code_cells() for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "execute_result"}
    assert NOTEBOOK.stat().st_size < MAX_BYTES
