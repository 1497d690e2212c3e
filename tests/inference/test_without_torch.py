"""A process whose graphs exist imports nothing of PyTorch: for one request of each kind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from grounded_labeler.cache import ByteCache
from grounded_labeler.errors import WeightsError
from grounded_labeler.inference.loader import FileLoader
from grounded_labeler.models.runtime import choice
from grounded_labeler.weights.choice import ModelChoice
from tests.conftest import SAMPLES
from tests.helpers.parallel import threads

pytestmark = pytest.mark.slow

NOT_NEEDED = (
    "torch", "torchvision", "transformers", "groundingdino", "segment_anything", "timm", "kornia",
    "huggingface_hub", "safetensors",
)  # fmt: skip
ROOT = Path(__file__).parents[2]

# Refuses them first, if it is told to, so that no `try: import torch` goes unseen either.
RUN = f"""
import json, sys
from pathlib import Path

NOT_NEEDED = {NOT_NEEDED!r}
model_dir, image, refuses = sys.argv[1:]

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NOT_NEEDED:
            raise AssertionError(f"{{name}} was imported")

if refuses == "refuses":
    sys.meta_path.insert(0, Refuse())

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.images.decode import decode
from grounded_labeler.inference.loader import load_pipeline
from grounded_labeler.models.runtime import device
from grounded_labeler.settings import Settings

# As on a machine without a GPU.
device._DEVICES, device._GPU_LIBRARY = Path("no devices"), "libnothing.so.1"
models = {{"DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": model_dir}}
pipeline = load_pipeline(Settings.from_env(models), ByteCache(2**26))
image = DecodedImage.of(decode(Path(image).read_bytes()))
limits = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=20)
request = InferenceRequest(
    image, parse_prompt("red circle . blue star", ()), (), limits, with_masks=True,
    with_embedding=True,
)
for _ in range(2):
    [found] = pipeline.run([request])
    pipeline.release()
print(json.dumps({{
    "device": pipeline.device,
    "runtime": str(pipeline.runtime),
    "boxes": found.detections.boxes.tolist(),
    "masks": len(found.masks),
    "imported": sorted(set(NOT_NEEDED) & sys.modules.keys()),
}}))
"""


@pytest.mark.parametrize("refuses", ["refuses", "counts"])
def test_graphs_need_nothing_of_pytorch(exported_demo: Path, refuses: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", RUN, exported_demo, SAMPLES / "wide.jpg", refuses],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), **threads()}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["imported"] == []
    assert (found["device"], found["runtime"].split(",")[0]) == ("cpu", "OpenVINO")
    assert found["masks"] == len(found["boxes"]) > 0


def test_without_graphs_and_without_pytorch_one_sentence_says_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    loader = FileLoader(tmp_path, ByteCache(0), device="cpu", cpu_threads=1)
    with pytest.raises(WeightsError, match=r"PyTorch, which makes them, .* `make weights`"):
        loader.load_pair(ModelChoice("demo", "demo"))
