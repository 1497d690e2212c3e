"""The published values fit each other, their images and the catalog."""

import re

import numpy as np
import pytest

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.errors import WeightsError
from grounded_labeler.weights import published
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.model import HubRepository, Model
from grounded_labeler.weights.published import detector_values, segmenter_values
from grounded_labeler.weights.reference_values import DetectorValues

# Cats and remote controls of 000000039769.jpg, as Grounding DINO and its documentation have them.
OBJECTS = np.array(
    [
        [344.7, 23.1, 637.2, 374.3], [12.3, 51.9, 316.9, 472.4],
        [38.6, 70.0, 176.8, 118.2], [331.4, 73.9, 372.1, 187.7],
    ],
    np.float32,
)  # fmt: skip
ENTRIES = [
    pytest.param(entry, id=f"{name}-{number}")
    for name, entries in published._DETECTORS.items()
    for number, entry in enumerate(entries)
]


def test_the_catalog_s_models_with_values_are_these() -> None:
    assert {name for name, model in DETECTORS.items() if detector_values(model)} == {
        "grounding-dino-tiny", "groundingdino-swint-ogc",
        "llmdet-tiny", "llmdet-base", "llmdet-large",
        "mm-grounding-dino-tiny", "mm-grounding-dino-base", "mm-grounding-dino-large",
        "sam3", "demo",
    }  # fmt: skip
    assert {name for name, model in SEGMENTERS.items() if segmenter_values(model)} == {
        "sam2.1-tiny", "edgetam", "demo",
    }  # fmt: skip


def test_a_repository_of_the_hub_has_its_values_by_whatever_name() -> None:
    hub = HubRepository("openmmlab-community/mm_grounding_dino_base_all")
    [entry] = detector_values(Model("any", "transformers", "", "", hub=hub))
    assert entry.scores == (0.4713,)


def test_a_model_of_one_s_own_has_none_even_of_the_same_name(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own = tmp_path_factory.mktemp("own") / "grounding-dino-tiny"
    assert detector_values(Model(own.name, "transformers", "", "", own=own)) == ()


@pytest.mark.parametrize("entry", ENTRIES)
def test_detections_are_above_their_threshold_and_on_the_objects(
    entry: DetectorValues,
) -> None:
    assert len(entry.scores) == len(entry.boxes) >= 1
    assert all(entry.threshold < score < 1 for score in entry.scores)
    boxes = np.array([box for box in entry.boxes if box is not None], np.float32)
    assert entry.in_parts == bool(boxes.max() <= 1)
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    if entry.image.name == "000000039769.jpg":
        overlaps = box_iou(boxes * ((640, 480) * 2 if entry.in_parts else 1), OBJECTS)
        assert overlaps.max(axis=1).min() > 0.85  # a remote control is small
        assert len(set(overlaps.argmax(axis=1))) == len(boxes)


@pytest.mark.parametrize("name", published._SEGMENTERS)
def test_each_box_of_a_segmenter_has_its_score(name: str) -> None:
    for entry, (width, height) in zip(
        published._SEGMENTERS[name], [(1800, 1200), (800, 534)], strict=True
    ):
        assert len(entry.boxes) == len(entry.scores) == 4
        assert all(0.8 < score < 1 for score in entry.scores)
        assert all(x2 <= width and y2 <= height for _, _, x2, y2 in entry.boxes)


def test_images_that_are_fetched_have_their_sum_and_licence() -> None:
    values = (*published._DETECTORS.values(), *published._SEGMENTERS.values())
    images = {entry.image for entries in values for entry in entries}  # type: ignore[attr-defined]
    fetched = {image.name: image.file for image in images if image.is_known}
    assert fetched.keys() == {"000000039769.jpg", "truck.jpg", "groceries.jpg"}
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in fetched.values())
    assert all(image.licence for image in images if image.is_known)


def test_damaged_values_of_a_bundled_model_are_a_sentence(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("demo")
    model = Model("demo", "transformers", "", "", bundled=str(folder))
    with pytest.raises(WeightsError, match=r"expected\.json is damaged: install"):
        detector_values(model)
