"""A segmenter whose graphs are there needs them alone: no weights, and nothing of PyTorch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import export_segmenter, load_segmenter
from grounded_labeler.models.segmenters.mobile_sam_build import build_mobile_sam
from tests.models.segmenters.sam_predictor import box_masks
from tests.models.segmenters.small_models import MEAN, small_model
from tests.models.segmenters.test_clicks import ONE
from tests.models.segmenters.test_sam import TINY, random_boxes, random_image, save, tiny_sam

pytestmark = pytest.mark.slow

NOT_NEEDED = (
    "torch", "torchvision", "transformers", "groundingdino", "segment_anything", "timm", "kornia",
)  # fmt: skip
IMAGE, BOXES = random_image((90, 160)), random_boxes(5, (90, 160))

ASK = f"""
import json, sys
import numpy as np
from pathlib import Path
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter

engine, exported, given, answers = sys.argv[1:]
given = np.load(given)
segmenter = load_segmenter(
    engine, Path("no weights"), Compute(threads=2), exported=Path(exported)
)
image = DecodedImage.of(given["image"])
found = segmenter.segment(image, VisualPrompts.of_boxes(given["boxes"]))
[clicked] = segmenter.segment(
    image, VisualPrompts(None, given["points"], given["are_positive"])
)
segmenter.release()
masks = np.stack([one.mask.full() for one in (*found, clicked)])
np.savez(answers, masks=masks, scores=[one.score for one in (*found, clicked)])
print(json.dumps(sorted({set(NOT_NEEDED)!r} & sys.modules.keys())))
"""


def save_sam(folder: Path) -> None:
    save(tiny_sam(), TINY, folder)


def save_mobile_sam(folder: Path) -> None:
    torch.manual_seed(0)
    torch.save(build_mobile_sam().state_dict(), folder / "mobile_sam.pt")


def save_sam2(family: str) -> Callable[[Path], None]:
    return lambda folder: small_model(family).save_pretrained(folder)


def ask(engine: str, exported: Path, folder: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Segment in a process of its own: what it imported, its masks and their scores."""
    given, answers = folder / "given.npz", folder / "answers.npz"
    np.savez(given, image=IMAGE, boxes=BOXES, points=ONE.points, are_positive=ONE.are_positive)
    arguments = [engine, str(exported), str(given), str(answers)]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(answers) as found:
        return json.loads(done.stdout), dict(found)


@pytest.mark.parametrize(
    ("engine", "save_model"),
    [
        pytest.param("sam", save_sam, id="sam"),
        pytest.param("mobile-sam", save_mobile_sam, id="mobile-sam"),
        pytest.param("sam2", save_sam2("sam2"), id="sam2"),
        pytest.param("sam2", save_sam2("edgetam"), id="edgetam"),
    ],
)
def test_a_process_with_graphs_imports_nothing_of_pytorch_and_finds_the_same_masks(
    engine: str, save_model: Callable[[Path], None], tmp_path: Path
) -> None:
    save_model(tmp_path)
    export_segmenter(engine, tmp_path, tmp_path / "graphs")
    imported, found = ask(engine, tmp_path / "graphs", tmp_path)
    assert imported == []
    by_torch = load_segmenter(engine, tmp_path, Compute())
    assert by_torch.runtime.name == "PyTorch"
    image = DecodedImage.of(IMAGE)
    masks = [mask.full() for mask in box_masks(by_torch, image, BOXES)]
    [clicked] = by_torch.segment(image, ONE)
    for mask, expected in zip(found["masks"], [*masks, clicked.mask.full()], strict=True):
        assert 0 < expected.mean() < 1
        assert mask_iou(mask, expected) >= 0.999
    assert found["scores"][-1] == pytest.approx(clicked.score, abs=1e-4)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    small_model("sam2").save_pretrained(tmp_path)
    export_segmenter("sam2", tmp_path, tmp_path / "graphs")
    return tmp_path / "graphs"


def test_facts_that_are_damaged_are_named(exported: Path) -> None:
    facts = exported / "facts.json"
    values = json.loads(facts.read_text())
    assert values["mean"] == pytest.approx(np.multiply(MEAN, 255))
    for text in ("", "{}", json.dumps(values | {"side": "128"}), json.dumps(values | {"new": 1})):
        facts.write_text(text)
        with pytest.raises(WeightsError, match=r"facts\.json is damaged or of another version"):
            load_segmenter("sam2", Path("no weights"), Compute(), exported=exported)


@pytest.mark.parametrize("name", ["encoder.xml", "decoder.xml", "facts.json"])
def test_a_folder_that_lacks_a_file_is_none(exported: Path, name: str) -> None:
    (exported / name).unlink()
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        load_segmenter("sam2", exported, Compute(), exported=exported)


def test_without_graphs_and_without_pytorch_one_sentence_says_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match=r"no graphs .* is not installed here: run `.*`"):
        load_segmenter("sam2", tmp_path, Compute(), exported=tmp_path / "graphs")
