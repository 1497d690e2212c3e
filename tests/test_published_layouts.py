"""Files of the published layouts, from the download to the answer: one model of each engine.

Their weights are random and small, and a stand-in serves them as the hub does. What real weights
find is for `grounded-labeler verify` to say.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from segment_anything import sam_model_registry
from transformers import BertConfig

from grounded_labeler.cli import verify, weights
from grounded_labeler.models.detectors import official_build, official_config
from grounded_labeler.models.segmenters.mobile_sam_build import build_mobile_sam
from grounded_labeler.service import start_service
from grounded_labeler.settings import Settings
from grounded_labeler.weights import catalog
from grounded_labeler.weights.catalog import HUB
from grounded_labeler.weights.model import Model, ModelFile
from grounded_labeler.weights.reference_images import ReferenceImages
from tests.conftest import client_of
from tests.helpers.asking import (
    BRUSH,
    IMAGE,
    PROMPT,
    RECTANGLES,
    STATUS,
    body,
    predict,
    typed,
    view,
)
from tests.helpers.hub_server import COMMIT, HubServer, hub_server
from tests.models.detectors.small_models import (
    CHECKPOINT,
    CONFIG,
    noise,
    save_tiny,
    save_vocabulary,
    small_model,
)
from tests.models.sam3 import small_models as sam3
from tests.models.segmenters import small_models as sam2
from tests.models.segmenters.test_sam import tiny_sam
from tools.make_groundingdino_golden import SMALL, TEXT

pytestmark = pytest.mark.slow

CONFIGURATION = view(PROMPT, STATUS, IMAGE, RECTANGLES, BRUSH)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def publish(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str, Path], None]:
    """What publishes the files of a folder as those of a model: its kind, its name, the folder."""

    def pinned(model: Model, folder: Path) -> Model:
        """The model with the sums of these files; the stand-in has them all in one place."""
        hub.repositories[f"pinned/{model.name}"] = folder
        files = tuple(
            ModelFile(
                name := Path(file.name).name,
                f"{HUB}pinned/{model.name}/resolve/{COMMIT}/{name}",
                (folder / name).stat().st_size,
                hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            )
            for file in model.files
            if (folder / file.name).is_file()
        )
        shared = tuple(pinned(part, folder) for part in model.shared)
        return replace(model, files=files, shared=shared)

    def done(kind: str, name: str, folder: Path) -> None:
        table = "DETECTORS" if kind == "detector" else "SEGMENTERS"
        model = getattr(catalog, table)[name]
        if model.hub is None:
            model = pinned(model, folder)
        else:
            hub.repositories[model.hub.name] = folder
            model = replace(model, files=())  # the sum of the true weights is another
        monkeypatch.setattr(catalog, table, {**getattr(catalog, table), name: model})

    return done


def write_hugging_face(family: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        save_tiny(folder, family)

    return write


def write_official(folder: Path) -> None:
    model = small_model(save_vocabulary(folder))
    torch.save({"model": model.state_dict()}, folder / CHECKPOINT)


def write_sam2(family: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        sam2.small_model(family).save_pretrained(folder)

    return write


def write_sam3(folder: Path) -> None:
    sam3.save_small(folder)


def write_sam(folder: Path) -> None:
    torch.save(tiny_sam().state_dict(), folder / "sam_vit_b_01ec64.pth")


def write_mobile_sam(folder: Path) -> None:
    torch.manual_seed(0)
    torch.save(build_mobile_sam().state_dict(), folder / "mobile_sam.pt")


NO_VALUES, DIFFERS = "no published values", "differs"
# Of each model what it is, what writes its files, and how random ones are judged.
CASES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "grounding-dino-tiny": ("detector", write_hugging_face("grounding-dino"), DIFFERS),
    "llmdet-tiny": ("detector", write_hugging_face("llmdet"), DIFFERS),
    "mm-grounding-dino-large": ("detector", write_hugging_face("llmdet-large"), DIFFERS),
    "groundingdino-swint-ogc": ("detector", write_official, DIFFERS),
    "sam3": ("detector", write_sam3, NO_VALUES),
    "sam-vit-b": ("segmenter", write_sam, NO_VALUES),
    "mobile-sam": ("segmenter", write_mobile_sam, NO_VALUES),
    "sam2.1-base-plus": ("segmenter", write_sam2("sam2"), NO_VALUES),
    "edgetam": ("segmenter", write_sam2("edgetam"), DIFFERS),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_downloaded_judged_and_served(
    name: str,
    hub: HubServer,
    publish: Callable[[str, str, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The published sizes of what has no config of its own.
    monkeypatch.setattr(official_build, "BertConfig", functools.partial(BertConfig, **TEXT))
    small = SimpleNamespace(**{**vars(official_config.NAMED[CONFIG]), **SMALL})
    monkeypatch.setitem(official_config.NAMED, CONFIG, small)
    monkeypatch.setitem(sam_model_registry, "vit_b", tiny_sam)

    kind, write, judged = CASES[name]
    published = tmp_path / "published"
    published.mkdir()
    write(published)
    publish(kind, name, published)
    environ = {
        "MODEL_DIR": str(tmp_path / "models"), "HF_ENDPOINT": hub.url, "BOX_THRESHOLD": "0",
        "TEXT_THRESHOLD": "0", "MAX_REGIONS": "3", "ACCEPT_LICENCES": "sam3", "OUTPUT": "both",
        "DETECTOR": name if kind == "detector" else "demo",
        "SEGMENTER": name if kind == "segmenter" or name == "sam3" else "demo",
    }  # fmt: skip
    if CASES[name][1] is write_official:
        environ["DETECT_SIZE"] = "256"  # its files say nothing of a size
    if name == "sam3":  # it is both
        publish("segmenter", name, published)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)

    assert weights.main(["--no-export"]) == 0, capsys.readouterr().err
    capsys.readouterr()

    # In the place of the published image, which nobody may bundle.
    drawn = tmp_path / "drawn.png"
    cv2.imwrite(str(drawn), noise(120, 160, seed=5))
    monkeypatch.setattr(ReferenceImages, "path_of", lambda _, image: image.bundled or drawn)
    assert verify.main(["--json"]) == (judged == DIFFERS)
    outcomes = {
        (one["model"], one["kind"]): one["outcome"] for one in json.loads(capsys.readouterr().out)
    }
    assert outcomes[name, kind] == judged

    service = start_service(Settings.from_env(environ))
    service.backend.wait_until_ready(600)
    _, png = cv2.imencode(".png", noise(96, 128, seed=4))
    image = f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
    [prediction] = predict(client_of(service), body([image], typed("red circle"), CONFIGURATION))
    kinds = {region["type"] for region in prediction["result"]}
    assert kinds == {"rectanglelabels", "brushlabels", "textarea"}
    assert prediction["model_version"].startswith(service.settings.choice.name)
