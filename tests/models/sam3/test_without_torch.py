"""A SAM 3 whose graphs are there needs them alone: no weights, and nothing of PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors import Options
from grounded_labeler.models.sam3 import export_sam3, load_sam3
from tests.models.detectors.small_models import images_of, noise
from tests.models.sam3.small_models import save_small
from tests.models.segmenters.test_clicks import ONE
from tests.models.segmenters.test_without_torch import NOT_NEEDED

pytestmark = pytest.mark.slow

PHRASES = ["a red cat", "dog"]

ASK = f"""
import json, sys
import numpy as np
from pathlib import Path
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.detectors import Options
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.sam3 import load_sam3

exported, given, answers = sys.argv[1:]
given = np.load(given)
model = load_sam3(Path("no weights"), Options(Compute(threads=2), exported=Path(exported)))
image = DecodedImage.of(given["image"])
[found] = model.detect([image], [{PHRASES!r}])
[clicked] = model.segment(image, VisualPrompts(None, given["points"], given["are_positive"]))
embedding = model.embed([image])
model.release()
np.savez(answers, boxes=found.boxes, peaks=found.peaks, presence=found.presence,
    mask=clicked.mask.full(), embedding=embedding)
print(json.dumps(sorted({set(NOT_NEEDED)!r} & sys.modules.keys())))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_small(tmp_path_factory.mktemp("sam3"))
    export_sam3(folder, folder / "graphs")
    return folder


def test_a_process_with_graphs_imports_nothing_of_pytorch_and_finds_the_same(
    folder: Path, tmp_path: Path
) -> None:
    [image] = images_of([noise(90, 150)])
    given, answers = tmp_path / "given.npz", tmp_path / "answers.npz"
    np.savez(given, image=image.pixels, points=ONE.points, are_positive=ONE.are_positive)
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(folder / "graphs"), str(given), str(answers)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    with np.load(answers) as npz:
        found = dict(npz)
    by_torch = load_sam3(folder, Options())
    assert by_torch.runtime.name == "PyTorch"
    [expected] = by_torch.detect([image], [PHRASES])
    np.testing.assert_allclose(found["boxes"] / 150, expected.boxes / 150, atol=1e-5)
    np.testing.assert_allclose(found["peaks"], expected.peaks, atol=1e-5)
    assert expected.presence is not None
    np.testing.assert_allclose(found["presence"], expected.presence, atol=1e-5)
    np.testing.assert_allclose(found["embedding"], by_torch.embed([image]), atol=1e-3)
    [clicked] = by_torch.segment(image, ONE)
    assert mask_iou(found["mask"], clicked.mask.full()) >= 0.999


def test_a_tokenizer_that_is_damaged_is_named(folder: Path) -> None:
    file = folder / "graphs" / "tokenizer.json"
    whole = file.read_text()
    file.write_text(whole[:-100])
    with pytest.raises(WeightsError, match=r"tokenizer\.json is damaged or of another version"):
        load_sam3(Path("no weights"), Options(exported=folder / "graphs"))
    file.write_text(whole)
