"""The import rules of the package hold; the contracts stand in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_import_rules() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "module",
    [
        "grounded_labeler",
        "grounded_labeler.labeler",
        "grounded_labeler.cli.label",
        "grounded_labeler.models.detectors",
        "grounded_labeler.models.segmenters",
    ],
)
def test_importing_the_package_imports_neither_torch_nor_flask(module: str) -> None:
    code = f"import {module}, sys; print({{'torch', 'flask'}} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "set()"
