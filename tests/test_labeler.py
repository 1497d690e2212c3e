"""Labelling from Python on the trained demo models, and what bad input says."""

import inspect
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import grounded_labeler
from grounded_labeler import Label, Labeler, LabelResult
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.types import Detections, TileCount
from grounded_labeler.demo.show import LABEL_CONFIG, PROMPTS
from grounded_labeler.errors import ImageError, PromptError, SettingsError, WeightsError
from grounded_labeler.images.decode import decode
from grounded_labeler.images.load import ImageSource
from grounded_labeler.label_studio.rendering import box_of, label_of, mask_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights import catalog
from grounded_labeler.weights.catalog import DETECTORS
from grounded_labeler.weights.model import DefaultThresholds
from tests.conftest import SAMPLES, MakeClient
from tests.helpers.asking import body, predict, typed

pytestmark = pytest.mark.slow

LABELS = [
    Label("Circle"),
    Label("Square"),
    Label("Triangle"),
    Label("Star"),
    Label("Ring", ("donut",)),
]
WIDE = SAMPLES / "wide.jpg"
PROMPT = "blue star . ring . red circle"


@pytest.fixture(scope="module")
def labeler() -> Iterator[Labeler]:
    with Labeler("demo", "demo") as loaded:
        yield loaded


def same(a: LabelResult, b: LabelResult) -> bool:
    assert a.masks is not None
    assert b.masks is not None
    return (
        np.array_equal(a.boxes, b.boxes)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.masks, b.masks)
        and (a.phrases, a.labels, a.size_hw) == (b.phrases, b.labels, b.size_hw)
    )


@pytest.mark.parametrize("name", PROMPTS)
def test_the_service_finds_the_same(labeler: Labeler, make_client: MakeClient, name: str) -> None:
    result = labeler.label(SAMPLES / name, PROMPTS[name], LABELS)
    request = body([f"/data/upload/1/{name}"], typed(PROMPTS[name]), LABEL_CONFIG)
    [prediction] = predict(make_client(OUTPUT="both"), request)
    regions: list[dict[str, Any]] = prediction["result"]
    boxes = [region for region in regions if region["from_name"] == "boxes"]
    masks = [region for region in regions if region["from_name"] == "masks"]
    assert len(result) == len(boxes) == len(masks) > 0
    for one, box, mask in zip(result, boxes, masks, strict=True):
        assert one.label == label_of(box)
        assert one.score == pytest.approx(box["score"], abs=1e-4)
        assert one.box.tolist() == pytest.approx(box_of(box).tolist(), abs=0.01)
        assert one.mask is not None
        assert np.array_equal(one.mask, mask_of(mask))


def test_every_kind_of_image_gives_the_same(labeler: Labeler) -> None:
    rotated = SAMPLES / "rotated.jpg"  # upright by its EXIF orientation only
    data = rotated.read_bytes()
    with Image.open(rotated) as opened:
        kinds: list[ImageSource] = [rotated, str(rotated), data, opened, decode(data)]
        first, *others = labeler.label(kinds, "red ring; green square", LABELS)
    assert first.size_hw == (640, 480)
    assert len(first) == 2
    assert all(same(first, other) for other in others)


def test_one_image_gives_one_result_and_several_a_list_in_their_order(labeler: Labeler) -> None:
    names = list(PROMPTS)
    several = labeler.label([SAMPLES / name for name in names], "star")
    assert [one.size_hw for one in several] == [
        labeler.label(SAMPLES / name, "star").size_hw for name in names
    ]
    [only] = labeler.label((WIDE,), "star")
    assert same(only, labeler.label(WIDE, "star"))
    assert labeler.label([], "star") == []


def test_as_many_images_run_at_once_as_the_device_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[int]] = []

    class Models:
        batch_size = 2

        def run(self, requests: Sequence[InferenceRequest]) -> list[InferenceResult]:
            batches.append([request.image.pixels.shape[0] for request in requests])
            return [
                InferenceResult(Detections.empty(), None, (one, 4), (0.0,), 0, 0)
                for one in batches[-1]
            ]

    monkeypatch.setattr("grounded_labeler.labeler.FileLoader.load_pair", lambda *_: Models())
    images = [np.zeros((height, 4, 3), np.uint8) for height in (5, 6, 7, 8, 9)]
    results = Labeler().label(images, "star")
    assert batches == [[5, 6], [7, 8], [9]]
    assert [one.size_hw for one in results] == [(height, 4) for height in (5, 6, 7, 8, 9)]


def test_a_list_of_images_may_have_a_prompt_each(labeler: Labeler) -> None:
    found = labeler.label([WIDE, WIDE], ["red circle", "blue star"])
    assert [one.phrases for one in found] == [("red circle",), ("blue star",)]


def test_without_a_prompt_the_labels_are_looked_for(labeler: Labeler) -> None:
    result = labeler.label(WIDE, labels=["Circle", "Star"])
    assert set(result.names) == {"Circle", "Star"}


def test_a_prompt_may_name_its_labels_itself(labeler: Labeler) -> None:
    result = labeler.label(WIDE, "red circle -> Ball . ring")
    assert set(zip(result.phrases, result.labels, strict=True)) == {
        ("red circle", "Ball"),
        ("ring", None),
    }
    assert result.class_names == ("Ball", "ring")


def test_no_masks_where_none_are_wanted(labeler: Labeler) -> None:
    assert labeler.label(WIDE, PROMPT, masks=False).masks is None


def test_a_near_miss_is_shown_by_a_threshold_of_its_score(labeler: Labeler) -> None:
    shown = labeler.label(WIDE, PROMPT)
    lowest = float(shown.scores.min())
    fewer = labeler.label(WIDE, PROMPT, box_threshold=min(1.0, lowest + 0.01))
    assert [one.score for one in fewer.near_misses] == [lowest]
    assert fewer.near_misses[0].phrase == shown.phrases[-1]
    assert same(labeler.label(WIDE, PROMPT, box_threshold=lowest), shown)


def test_a_threshold_typed_in_the_prompt_goes_before_the_argument(labeler: Labeler) -> None:
    typed = labeler.label(WIDE, "red circle > 0.2 . star > 0.99", box_threshold=1.0)
    assert set(typed.phrases) == {"red circle"}
    assert typed.box_thresholds == {"red circle": 0.2, "star": 0.99}
    with pytest.raises(PromptError, match="box threshold from 0 to 1"):
        labeler.label(WIDE, "red circle > 2")


@pytest.mark.parametrize(
    ("tiles", "count"), [("off", None), (200, TileCount(12, 12)), ("auto", TileCount(12, 12))]
)
def test_tiles_are_looked_at_where_that_is_asked_for(
    labeler: Labeler, tiles: int | str, count: TileCount | None
) -> None:
    assert labeler.label(WIDE, "star", masks=False, tiles=tiles).tiles == count


def test_threads_may_share_one(labeler: Labeler) -> None:
    prompts = ["red circle", "blue star", "ring", "orange star"]
    alone = [labeler.label(WIDE, prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: labeler.label(WIDE, prompt), prompts * 4))
    assert all(same(one, alone[i % 4]) for i, one in enumerate(together))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"images": WIDE, "prompt": None}, "There is nothing to look for"),
        ({"images": WIDE, "prompt": " . "}, "There is nothing to look for"),
        ({"images": WIDE, "prompt": ["star"]}, "A list of prompts needs a list of images"),
        ({"images": [WIDE], "prompt": ["star", "ring"]}, "There are 2 prompts for 1 images"),
        ({"images": WIDE, "labels": "Star"}, r'labels must be a list, as \["Star"\]'),
        ({"images": WIDE, "box_threshold": 3}, "box_threshold must be a number from 0 to 1, not 3"),
        ({"images": WIDE, "text_threshold": -1}, "text_threshold must be a number from 0 to 1"),
        ({"images": WIDE, "nms_threshold": float("nan")}, "nms_threshold must be a number"),
        ({"images": WIDE, "max_regions": 0}, "max_regions must be at least 1, not 0"),
        ({"images": WIDE, "tiles": 12}, r"tiles must be off, auto or a number .*, not 12\."),
        ({"images": WIDE, "tiles": None}, r"tiles must be off, auto or a number .*, not None\."),
        ({"images": 7}, "must be a path, bytes, a PIL image or a uint8 RGB array, not int"),
        ({"images": np.zeros((4, 4))}, r"must be uint8 RGB of shape \(H, W, 3\), not float64"),
        ({"images": np.zeros((4, 4, 4), np.uint8)}, r"not uint8 of shape \(4, 4, 4\)"),
        ({"images": np.zeros((0, 4, 3), np.uint8)}, r"not uint8 of shape \(0, 4, 3\)"),
        ({"images": b""}, "The image file is empty"),
        ({"images": "missing.jpg"}, "missing.jpg cannot be read: No such file"),
        ({"images": SAMPLES}, "cannot be read: Is a directory"),
        ({"images": SAMPLES / "truth.json"}, "truth.json: This is JSON, not an image"),
        ({"images": WIDE, "prompt": "word " * 300}, "is 1200 tokens long"),
    ],
)
def test_bad_input_is_one_clear_sentence(
    labeler: Labeler, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((ValueError, TypeError, PromptError, ImageError), match=sentence) as raised:
        labeler.label(**({"prompt": "star"} | arguments))
    assert "\n" not in str(raised.value)


def test_a_closed_one_has_let_its_models_go_and_says_so() -> None:
    labeler = Labeler("demo", "none")
    assert len(labeler.label(WIDE, "red circle")) == 1
    models = weakref.ref(labeler._pipeline)
    labeler.close()
    labeler.close()
    assert models() is None
    with pytest.raises(ValueError, match="closed"):
        labeler.label(WIDE, "red circle")


def test_a_segmenter_may_be_left_out() -> None:
    with Labeler("demo", "none", device="cpu", precision="fp32", cpu_threads=1) as labeler:
        assert labeler.label(WIDE, "red circle").masks is None


def test_what_cannot_be_loaded_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"groundingdino_swint_ogc\.pth.* Run `"):
        Labeler(model_dir=tmp_path)
    with pytest.raises(SettingsError, match=r"yolo .*groundingdino-swint-ogc"):
        Labeler("yolo")
    with pytest.raises(SettingsError, match="needs a GPU and there is none"):
        Labeler("demo", "none", device="cpu", precision="fp16")


def test_defaults_are_those_of_the_service() -> None:
    settings = Settings.from_env({})
    made = inspect.signature(Labeler).parameters
    asked = inspect.signature(Labeler.label).parameters
    for name in ("box_threshold", "text_threshold", "nms_threshold", "max_regions", "tiles"):
        assert asked[name].default == getattr(settings, name), name
    for name in (
        "detector",
        "precision",
        "cpu_threads",
        "detect_size",
        "cache_bytes",
        "max_image_pixels",
    ):
        assert made[name].default == getattr(settings, name), name
    assert Path(made["model_dir"].default) == settings.model_dir


def test_the_thresholds_are_the_detector_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody gives others; near misses lie below them."""
    strict = replace(DETECTORS["demo"], thresholds=DefaultThresholds(0.9, 0.85, "a paper"))
    monkeypatch.setattr(catalog, "DETECTORS", {"demo": strict})
    with Labeler("demo", "none", cpu_threads=1) as labeler:
        [own] = labeler.label([WIDE], PROMPT)
        given = labeler.label(WIDE, PROMPT, box_threshold=0.9, text_threshold=0.85)
        low = labeler.label(WIDE, PROMPT, box_threshold=0.3, text_threshold=0.25)
    assert np.array_equal(own.boxes, given.boxes)
    assert own.phrases == given.phrases
    assert len(own) < len(low)
    assert own.near_misses


def test_no_environment_variable_is_read(tmp_path: Path) -> None:
    code = (
        "from grounded_labeler import Labeler\n"
        f"print(len(Labeler('demo', 'none').label({str(WIDE)!r}, 'red circle')))"
    )
    wrong = {"DETECTOR": "nonsense", "PRECISION": "fp16", "BOX_THRESHOLD": "1", "MODEL_DIR": "/no"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(grounded_labeler.__path__[0]).parent), **wrong},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "1\n"), ran.stderr


def test_the_package_has_no_other_names() -> None:
    assert {name: getattr(grounded_labeler, name) for name in grounded_labeler.__all__}
    with pytest.raises(AttributeError, match="has no attribute 'Labeller'"):
        grounded_labeler.Labeller  # noqa: B018


def test_threads_may_load_models_at_once() -> None:
    """transformers builds models under settings of the whole process."""

    def load(_: int) -> int:
        with Labeler(detector="demo", segmenter="none") as labeler:
            return len(labeler.label(SAMPLES / "wide.jpg", "red circle"))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(4))) == [1] * 4


def test_12_bits_in_a_16_bit_file_are_stretched_where_that_is_asked_for() -> None:
    deep = np.asarray(Image.open(WIDE))[..., ::-1].astype(np.uint16) * 16
    data = cv2.imencode(".png", deep.astype(np.uint16))[1].tobytes()
    with Labeler("demo", "none", stretch=True) as stretching, Labeler("demo", "none") as usual:
        expected = usual.label(WIDE, PROMPT)
        found = stretching.label(data, PROMPT)
        assert sorted(found.phrases) == sorted(expected.phrases)
        assert len(usual.label(data, PROMPT)) < len(expected)
