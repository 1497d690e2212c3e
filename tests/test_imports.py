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
    ("modules", "slow"),
    [
        (
            "grounded_labeler grounded_labeler.labeler grounded_labeler.cli.label "
            "grounded_labeler.models.detectors grounded_labeler.models.segmenters",
            "torch flask",
        ),
        ("grounded_labeler.preannotate.jobs", "torch flask label_studio_sdk opentelemetry"),
        ("model", "torch transformers openvino nltk scipy opentelemetry"),
        (
            "grounded_labeler.server.app grounded_labeler.inference.loader "
            "grounded_labeler.models.pipeline grounded_labeler.models.verification "
            "grounded_labeler.models.detectors.grounding_dino "
            "grounded_labeler.models.segmenters.segmenter "
            "grounded_labeler.models.runtime.openvino",
            "torch torchvision transformers groundingdino segment_anything timm kornia",
        ),
    ],
)
def test_no_import_brings_what_takes_seconds(modules: str, slow: str) -> None:
    names = ", ".join(modules.split())
    code = f"import sys, {names}; print({set(slow.split())!r} & sys.modules.keys())"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "set()"
