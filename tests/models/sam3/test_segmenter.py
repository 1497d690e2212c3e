"""SAM 3's tracker as a segmenter: what transformers' Sam3TrackerModel and its processor compute."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, Sam3TrackerModel, Sam3TrackerProcessor

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.models.detectors import Options
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import Array, Arrays, Graph, Graphs
from grounded_labeler.models.sam3 import export_sam3, load_sam3
from grounded_labeler.models.sam3.segmenter import Sam3Segmenter
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.models.segmenters.segmenter import PromptSegmenter
from tests.models.detectors.small_models import images_of, noise
from tests.models.sam3.small_models import SIDE, save_detector_alone, save_small
from tests.models.segmenters.sam_predictor import fulls
from tests.models.segmenters.test_clicks import MANY, ONE, clicks
from tests.models.segmenters.test_sam import TALL, WIDE, random_boxes, random_image
from tests.models.segmenters.test_sam2 import Reference, check

pytestmark = pytest.mark.slow

PROMPTS = {
    "a box": VisualPrompts.of_boxes(random_boxes(1, (60, 90))),
    "boxes": VisualPrompts.of_boxes(random_boxes(7, (60, 90))),
    "a click": ONE,
    "clicks": MANY,
    "a box and clicks": clicks((20, 12, True), (12, 30, False), boxes=True),
}


class TrackerReference(Reference):
    """The tracker of transformers with its processor, mended.

    Sam3TrackerModel 5.23 adds the embedding of "no memory" to a fourth level, which nothing
    reads. Meta's own predictor and transformers' tracker of videos add it to the third.
    """

    def __init__(self, folder: Path) -> None:
        self.model, info = Sam3TrackerModel.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"]
        neck = self.model.vision_encoder.neck
        neck.fpn_layers = neck.fpn_layers[:3]
        self.model.eval()
        self.processor = Sam3TrackerProcessor(AutoImageProcessor.from_pretrained(folder))
        self.side = SIDE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("graphs") / "sam3"
    export_sam3(folder, into)
    return into


@pytest.fixture(scope="module")
def reference(folder: Path) -> TrackerReference:
    return TrackerReference(folder)


@pytest.fixture(scope="module", params=["PyTorch", "OpenVINO"])
def segmenter(folder: Path, exported: Path, request: pytest.FixtureRequest) -> PromptSegmenter:
    graphs = exported if request.param == "OpenVINO" else None
    made = load_segmenter("sam3", folder, Compute(), exported=graphs)
    assert made.runtime.name == request.param
    return made


def test_what_stands_for_no_memory_is_on_the_level_that_masks_come_from(
    folder: Path, segmenter: PromptSegmenter
) -> None:
    as_it_is = Sam3TrackerModel.from_pretrained(folder).eval()
    [image] = images_of([random_image(WIDE)])
    assert isinstance(segmenter, Sam3Segmenter)
    pixels = torch.from_numpy(segmenter._vision.prepare(image.pixels))[None]
    with torch.inference_mode():
        *finer, coarse = as_it_is.get_image_embeddings(pixels)
        no_memory = as_it_is.no_memory_embedding.detach().reshape(1, -1, 1, 1)
    assert no_memory.abs().max() > 0.01
    for own, its in zip(segmenter._levels(image), (*finer, coarse + no_memory), strict=True):
        np.testing.assert_allclose(own, its, atol=1e-5)


@pytest.mark.parametrize("size_hw", [WIDE, TALL, (1, 400)])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_masks_and_scores_are_those_of_transformers(
    segmenter: PromptSegmenter,
    reference: TrackerReference,
    size_hw: tuple[int, int],
    prompts: VisualPrompts,
) -> None:
    # The logits of so small a model are within 0.1 of 0, so that is 1e-5.
    check(segmenter, reference, random_image(size_hw), prompts, rounding=1e-4)


def test_the_next_click_refines_the_mask_before(folder: Path, reference: TrackerReference) -> None:
    image, before = random_image(WIDE), clicks((20, 12, True))
    after = clicks((20, 12, True), (40, 30, False))
    segmenter = load_segmenter("sam3", folder, Compute(), cache=ByteCache(2**24))
    [decoded] = images_of([image])
    segmenter.segment(decoded, before)
    [refined] = segmenter.segment(decoded, after)
    first, _, _ = reference.predict(image, before)
    _, scores, _ = reference.predict(image, after, torch.tensor(first)[:, None].clamp(-32, 32))
    assert refined.score == pytest.approx(scores[0], abs=1e-5)
    _, without, _ = reference.predict(image, after)
    assert abs(scores[0] - without[0]) > 1e-4, "the test would not see a difference"


def count_runs(graphs: Graphs, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, graph in list(graphs.items()):

        def run(*inputs: Array, _name: str = name, _graph: Graph = graph) -> Arrays:
            names.append(_name)
            return _graph(*inputs)

        monkeypatch.setitem(graphs, name, run)


def test_phrases_clicks_and_boxes_share_one_run_of_the_vit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = load_sam3(folder, Options(cache=ByteCache(2**24)))
    runs: list[str] = []
    assert both._segmenter._graphs is both._detector._graphs
    count_runs(both._detector._graphs, runs, monkeypatch)
    [image] = images_of([noise(*WIDE)])
    [found] = both.detect([image], [["cat"]])
    clicked = both.segment(image, ONE)
    boxed = both.segment(image, PROMPTS["boxes"])
    both.encode(image)
    both.detect([image], [["dog"]])
    assert runs == [
        "backbone", "detector_neck", "tracker_neck", "text", "joint", "decoder", "decoder",
        "decoder", "text", "joint",
    ]  # fmt: skip
    alone = load_segmenter("sam3", folder, Compute())
    for prompts, segments in ((ONE, clicked), (PROMPTS["boxes"], boxed)):
        others = alone.segment(image, prompts)
        np.testing.assert_array_equal(
            fulls([one.mask for one in segments]), fulls([one.mask for one in others])
        )
    assert len(found.boxes)


def test_a_click_first_encodes_for_phrases_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = load_sam3(folder, Options(cache=ByteCache(2**24)))
    runs: list[str] = []
    count_runs(both._detector._graphs, runs, monkeypatch)
    [image] = images_of([noise(*WIDE)])
    both.segment(image, ONE)
    both.detect([image], [["cat"]])
    assert runs == ["backbone", "detector_neck", "tracker_neck", "decoder", "text", "joint"]
    both.release()
    [again] = both.detect([image], [["owl"]])
    assert again.presence is not None


def test_no_prompts_encode_nothing(segmenter: PromptSegmenter) -> None:
    [image] = images_of([noise(*WIDE)])
    assert segmenter.segment(image, VisualPrompts.of_boxes(np.zeros((0, 4), np.float32))) == []


def test_an_image_that_does_not_fit_is_out_of_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = load_segmenter("sam3", folder, Compute())
    assert isinstance(segmenter, Sam3Segmenter)

    def full(*_: Array) -> Arrays:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setitem(segmenter._graphs, "tracker_neck", full)
    with pytest.raises(OutOfMemory):
        segmenter.segment(images_of([noise(*WIDE)])[0], ONE)


def test_a_detector_alone_is_no_segmenter(tmp_path: Path) -> None:
    alone = save_detector_alone(tmp_path)
    for load_it in (
        lambda: load_segmenter("sam3", alone, Compute()),
        lambda: load_sam3(alone, Options()),
    ):
        with pytest.raises(WeightsError, match="SAM 3's detector without its tracker"):
            load_it()
