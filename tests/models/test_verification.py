"""Models that are right agree with what is expected of them, and sabotaged ones do not."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import MMGroundingDinoForObjectDetection

from grounded_labeler.core.agreement import Agreement
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.images.decode import decode
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.pixels import tables_of
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.models.verification import check_detector, check_segmenter, verify_model
from grounded_labeler.weights import published
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.published import detector_values, segmenter_values
from grounded_labeler.weights.reference_images import ReferenceImages
from grounded_labeler.weights.reference_values import DetectorValues, ReferenceImage
from grounded_labeler.weights.verification import Outcome, digest_of
from tests.conftest import SAMPLES
from tests.models.detectors.small_models import DEMO, save_tiny
from tools import write_demo_values

pytestmark = pytest.mark.slow

SEGMENTER = DEMO.parent / "segmenter"
BLANK = DecodedImage.of(np.zeros((480, 640, 3), np.uint8))
COCO = [
    pytest.param(entry, id=f"{name}-{number}")
    for name, entries in published._DETECTORS.items()
    for number, entry in enumerate(entries)
    if all(entry.boxes)
]
Sabotage = Callable[[Path], None]


def image(name: str, *, is_bgr: bool = False) -> DecodedImage:
    pixels = decode((SAMPLES / name).read_bytes())
    return DecodedImage.of(np.ascontiguousarray(pixels[..., ::-1]) if is_bgr else pixels)


def detector_agreement(folder: Path, *, is_bgr: bool = False) -> Agreement:
    detector = load_detector("transformers", folder, Options(Compute()))
    return Agreement.of_all(
        check_detector(detector, entry, image(entry.image.name, is_bgr=is_bgr))
        for entry in detector_values(DETECTORS["demo"])
    )


def segmenter_agreement(folder: Path, *, is_bgr: bool = False) -> Agreement:
    segmenter = load_segmenter("sam", folder, Compute())
    return Agreement.of_all(
        check_segmenter(segmenter, entry, image(entry.image.name, is_bgr=is_bgr))
        for entry in segmenter_values(SEGMENTERS["demo"])
    )


def randomise(*names: str) -> Sabotage:
    """Draw the weights anew whose names have one of these in them, as large as they were."""

    def sabotage(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        generator = torch.Generator().manual_seed(0)
        changed = [key for key in weights if any(name in key for name in names)]
        assert changed
        for key in changed:
            if weights[key].numel() > 1:
                drawn = torch.randn(weights[key].shape, generator=generator)
                weights[key] = drawn * weights[key].std()
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return sabotage


def set_processor(**values: object) -> Sabotage:
    def sabotage(folder: Path) -> None:
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return sabotage


def test_the_demo_detector_agrees() -> None:
    found = detector_agreement(DEMO)
    assert (found.holds, found.expected) == (True, 19)
    assert found.worst_iou is not None
    assert found.worst_iou > 0.999


@pytest.mark.parametrize(
    "sabotage",
    [
        pytest.param(set_processor(image_mean=[0.5] * 3, image_std=[0.5] * 3), id="another mean"),
        pytest.param(
            set_processor(image_mean=[0.406, 0.456, 0.485], image_std=[0.225, 0.224, 0.229]),
            id="the mean of swapped channels",
        ),
        pytest.param(set_processor(do_normalize=False), id="not normalised"),
        pytest.param(
            set_processor(size={"shortest_edge": 112, "longest_edge": 168}), id="too small"
        ),
        pytest.param(set_processor(size={"height": 160, "width": 160}), id="squashed"),
        pytest.param(randomise("encoder.layers.1.", "decoder.layers.1."), id="half the layers"),
        pytest.param(randomise("text_backbone"), id="random text encoder"),
        pytest.param(randomise("level_embed"), id="random level embedding"),
    ],
)
def test_a_sabotaged_detector_is_refused(sabotage: Sabotage, tmp_path: Path) -> None:
    folder = shutil.copytree(DEMO, tmp_path / "detector")
    sabotage(folder)
    assert not detector_agreement(folder).holds


def test_swapped_colours_are_refused() -> None:
    assert not detector_agreement(DEMO, is_bgr=True).holds
    assert not segmenter_agreement(SEGMENTER, is_bgr=True).holds


def with_own_heads(folder: Path, *, are_alike: bool = False) -> Path:
    """Make a small MM-Grounding-DINO whose decoder layers have each a box head of their own.

    So have all published ones; `are_alike` makes all heads the first, as a loader would that
    takes them for shared.
    """
    save_tiny(folder, "mm-grounding-dino")
    path = folder / "config.json"
    flags = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | flags))
    config = MMGroundingDinoForObjectDetection.config_class.from_pretrained(folder)
    torch.manual_seed(7)
    model = MMGroundingDinoForObjectDetection(config)
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.02
    for layer, head in enumerate(model.model.decoder.bbox_embed):
        for parameter in head.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1 * (1 + layer)
    heads = [model.bbox_embed, model.model.decoder.bbox_embed]
    for place in range(len(model.bbox_embed)):
        heads[0][place].load_state_dict(heads[1][0 if are_alike else place].state_dict())
        heads[1][place].load_state_dict(heads[0][place].state_dict())
    model.save_pretrained(folder)
    return folder


def test_shared_box_heads_are_refused(tmp_path: Path) -> None:
    """What transformers 5.0 to 5.20 made of LLMDet, with no missing key and no other sign."""
    wide, phrases = image("wide.jpg"), ("blue ring", "red circle")
    right = load_detector("transformers", with_own_heads(tmp_path / "a"), Options(Compute()))
    [found] = right.detect([wide], [phrases])
    scores = found.peaks.max(axis=1)
    order = np.argsort(-scores)
    best = order[:5]
    values = DetectorValues(
        ReferenceImage("wide.jpg"),
        phrases,
        float(scores[order[5]]),
        tuple(map(float, scores[best])),
        tuple(tuple(map(float, box)) for box in found.boxes[best]),  # type: ignore[misc]
        "this test",
    )
    assert check_detector(right, values, wide).holds
    alike = with_own_heads(tmp_path / "b", are_alike=True)
    wrong = load_detector("transformers", alike, Options(Compute()))
    assert check_detector(wrong, values, wide).missing > 0


def test_the_demo_segmenter_agrees() -> None:
    found = segmenter_agreement(SEGMENTER)
    assert (found.holds, found.expected) == (True, 19)


@pytest.mark.parametrize(
    "sabotage",
    [
        pytest.param(randomise("image_encoder.blocks.1."), id="a third of the encoder"),
        pytest.param(randomise("image_encoder.neck"), id="random neck"),
        pytest.param(randomise("output_hypernetworks_mlps"), id="random masks"),
        pytest.param(randomise("mask_decoder.transformer.layers.1."), id="half the decoder"),
    ],
)
def test_a_sabotaged_segmenter_is_refused(sabotage: Sabotage, tmp_path: Path) -> None:
    folder = shutil.copytree(SEGMENTER, tmp_path / "segmenter")
    sabotage(folder)
    assert not segmenter_agreement(folder).holds


def test_a_segmenter_with_another_mean_is_refused() -> None:
    segmenter = load_segmenter("sam", SEGMENTER, Compute())
    another = (127.5, 127.5, 127.5)
    segmenter._tables = tables_of(another, another)
    assert not all(
        check_segmenter(segmenter, entry, image(entry.image.name)).holds
        for entry in segmenter_values(SEGMENTERS["demo"])
    )


class Giving:
    """A Detector that gives these boxes and scores."""

    device, batch_size, longest = "cpu", 1, 1333

    def __init__(
        self, boxes: Sequence[Sequence[float]], scores: Sequence[float], *, is_coarse: bool = False
    ) -> None:
        self.candidates = Candidates(
            np.array(boxes, np.float32),
            np.array([scores, np.zeros(len(scores))], np.float32).T,
            np.zeros((len(scores), 2), np.float32),
            np.zeros(len(scores), np.intp),
            is_coarse,
        )

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        return np.zeros((len(images), 2), np.float32)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        return [self.candidates for _ in images]

    def release(self) -> None:
        pass


@pytest.mark.parametrize("entry", COCO)
def test_published_values_are_read_as_pixels_of_the_image(entry: DetectorValues) -> None:
    parts = np.array(entry.boxes) * ((640, 480) * 2 if entry.in_parts else 1)
    assert check_detector(Giving(parts.tolist(), entry.scores), entry, BLANK).holds
    turned = parts[:, [1, 0, 3, 2]].tolist()
    assert not check_detector(Giving(turned, entry.scores), entry, BLANK).holds
    more = [*parts.tolist(), [0, 0, 9, 9]]
    extra = check_detector(Giving(more, [*entry.scores, 0.5]), entry, BLANK)
    assert (extra.missing, extra.extra) == (0, 1)


def test_a_detector_that_saw_fewer_pixels_is_not_compared() -> None:
    [entry, _] = detector_values(DETECTORS["grounding-dino-tiny"])
    with pytest.raises(OutOfMemory):
        check_detector(Giving([[0, 0, 1, 1]], [0.5], is_coarse=True), entry, BLANK)


def test_the_model_of_the_settings_is_verified_by_the_runtime_that_serves(
    exported_demo: Path, tmp_path: Path
) -> None:
    model = DETECTORS["demo"]
    for model_dir, runtime in ((tmp_path, "PyTorch, fp32"), (exported_demo, "OpenVINO, fp32")):
        images = ReferenceImages(model_dir, is_offline=True)
        found = verify_model("detector", model, model_dir, images, 1)
        assert found.outcome is Outcome.VERIFIED
        assert found.runtime.startswith(runtime)
        assert found.digest == digest_of(model, model_dir)
        assert len(found.images) == 4
        assert found.figures["expected"] == 19


def test_a_model_whose_files_are_missing_is_an_error(tmp_path: Path) -> None:
    images = ReferenceImages(tmp_path, is_offline=True)
    with pytest.raises(WeightsError, match="missing or incomplete"):
        verify_model("detector", DETECTORS["grounding-dino-tiny"], tmp_path, images, 1)


def test_a_model_without_values_is_not_even_loaded(tmp_path: Path) -> None:
    own = replace(DETECTORS["demo"], bundled=None, own=tmp_path)  # an empty folder
    found = verify_model("detector", own, tmp_path, ReferenceImages(tmp_path), 1)
    assert found.outcome is Outcome.NO_VALUES


def test_the_expected_values_are_those_of_the_present_weights(tmp_path: Path) -> None:
    """What the trainers write, to the last digits that machines agree on."""
    for name, write in (
        ("detector", write_demo_values.write_detector_values),
        ("segmenter", write_demo_values.write_segmenter_values),
    ):
        folder = shutil.copytree(DEMO.parent / name, tmp_path / name)
        (folder / "expected.json").unlink()
        write(folder)
        made = json.loads((folder / "expected.json").read_text())
        kept = json.loads((DEMO.parent / name / "expected.json").read_text())
        for one, other in zip(made, kept, strict=True):
            assert one["image"] == other["image"]
            np.testing.assert_allclose(one["scores"], other["scores"], atol=2e-3)
