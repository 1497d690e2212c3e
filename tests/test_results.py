"""What a result says, and its forms in other tools, with an empty result and without masks."""

import importlib.util
from typing import Any

import numpy as np
import pytest
import supervision
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Detections, Label, Thresholds
from grounded_labeler.results import LabelResult

SIZE_HW = (150, 200)
LABELS = (Label("Car"), Label("Person"))
BOXES = np.array([[10, 40, 60.5, 90], [70, 40, 110, 100]], np.float32)


def mask(left: int, top: int, right: int, bottom: int) -> Mask:
    full = np.zeros(SIZE_HW, np.bool_)
    full[top:bottom, left:right] = True
    return Mask.from_full(full)


def make(
    *, masks: bool = True, empty: bool = False, presence: tuple[float, ...] | None = None
) -> LabelResult:
    labels, prompt = LABELS, parse_prompt("red car . dog . unicorn . -blue car", LABELS)
    detections = Detections(
        BOXES, np.array([0.9, 0.5], np.float32), ("red car", "dog"), ("Car", None)
    )
    near = Detections(
        np.array([[5, 5, 9, 9]], np.float32), np.array([0.25], np.float32), ("dog",), (None,)
    )
    if empty:
        detections, near = Detections.empty(), Detections.empty()
    image = DecodedImage.of(np.full((*SIZE_HW, 3), 90, np.uint8))
    limits = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=10)
    drawn = [mask(12, 42, 58, 88), mask(70, 40, 110, 100)][: len(detections)]
    return LabelResult.from_inference(
        InferenceRequest(image, prompt, labels, limits, with_masks=masks),
        InferenceResult(
            detections,
            drawn if masks else None,
            SIZE_HW,
            (0.9, 0.5, 0.1, 0.2),
            0,
            0,
            near,
            presence,
        ),
    )


def test_arrays_have_the_documented_types_and_shapes() -> None:
    result = make()
    assert result.boxes.shape == (2, 4)
    assert result.scores.shape == (2,)
    assert result.masks is not None
    assert result.masks.shape == (2, *SIZE_HW)
    dtypes = [array.dtype for array in (result.boxes, result.scores, result.masks)]
    assert dtypes == [np.dtype(kind) for kind in (np.float32, np.float32, np.bool_)]
    assert result.masks.sum(axis=(1, 2)).tolist() == [46 * 46, 40 * 60]
    assert result.labels == ("Car", None)
    assert result.phrases == ("red car", "dog")
    assert result.names == ("Car", "dog")
    assert result.size_hw == SIZE_HW


def test_iterating_gives_one_object_after_another() -> None:
    first, second = make()
    assert (first.name, first.label, first.phrase) == ("Car", "Car", "red car")
    assert (second.name, second.label, second.phrase) == ("dog", None, "dog")
    assert first.score == pytest.approx(0.9)
    assert first.box.tolist() == [10, 40, 60.5, 90]
    assert second.mask is not None
    assert second.mask.sum() == 40 * 60


def test_class_names_are_the_labels_and_the_phrases_without_one() -> None:
    assert make().class_names == ("Car", "Person", "dog", "unicorn")
    assert make(empty=True).class_names == ("Car", "Person", "dog", "unicorn")


def test_presence_is_that_of_the_phrases_to_look_for() -> None:
    assert make().presence is None
    found = make(presence=(0.9, 0.8, 0.03, 0.7)).presence
    assert found == {"red car": 0.9, "dog": 0.8, "unicorn": 0.03}


def test_near_misses_and_best_scores() -> None:
    [near] = make().near_misses
    assert (near.name, near.score, near.mask) == ("dog", 0.25, None)
    assert make().best_scores == {"red car": 0.9, "dog": 0.5, "unicorn": 0.1}


def test_without_masks() -> None:
    result = make(masks=False)
    assert result.masks is None
    assert [one.mask for one in result] == [None, None]
    assert result.to_supervision().mask is None
    assert all("segmentation" not in one for one in result.to_coco())


def test_an_empty_result_has_all_its_forms() -> None:
    result = make(empty=True)
    assert len(result) == 0
    assert list(result) == []
    assert result.boxes.shape == (0, 4)
    assert result.masks is not None
    assert result.masks.shape == (0, *SIZE_HW)
    assert result.to_coco() == []
    assert len(result.to_supervision()) == 0
    assert np.array_equal(np.asarray(result.draw()), result.image)


def test_drawing_on_the_image_itself_or_on_another_of_its_size() -> None:
    result = make()
    drawn = np.asarray(result.draw())
    assert drawn.shape == (*SIZE_HW, 3)
    assert (drawn != result.image).any()
    other = Image.new("L", (200, 150), 255)
    assert np.asarray(result.draw(other))[149, 199].tolist() == [255, 255, 255]
    with pytest.raises(ValueError, match=r"must be 200 x 150 pixels, .* not 9 x 8"):
        result.draw(Image.new("RGB", (9, 8)))


def test_supervision_annotates_what_it_is_given() -> None:
    result = make()
    detections = result.to_supervision()
    assert np.array_equal(detections.xyxy, BOXES)
    assert detections.confidence is not None
    assert detections.confidence.tolist() == result.scores.tolist()
    assert detections.class_id is not None
    assert [result.class_names[i] for i in detections.class_id] == ["Car", "dog"]
    assert detections["class_name"].tolist() == ["Car", "dog"]
    annotated = supervision.MaskAnnotator().annotate(result.image.copy(), detections)
    assert (annotated != result.image).any()


def test_without_supervision_there_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "grounded_labeler.results.find_spec",
        lambda name: None if name == "supervision" else find(name),
    )
    with pytest.raises(ImportError, match=r"needs supervision: pip install supervision\.$"):
        make().to_supervision()


def test_coco_reads_the_annotations_back() -> None:
    result = make()
    annotations: list[Any] = list(result.to_coco(image_id=7, first_id=3))
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": 7, "file_name": "a.jpg", "height": 150, "width": 200}],
        "annotations": annotations,
        "categories": [{"id": i, "name": n} for i, n in enumerate(result.class_names, 1)],
    }
    coco.createIndex()
    assert coco.getAnnIds(imgIds=[7]) == [3, 4]
    assert [coco.cats[one["category_id"]]["name"] for one in coco.loadAnns([3, 4])] == [
        "Car",
        "dog",
    ]
    assert result.masks is not None
    for annotation, full in zip(annotations, result.masks, strict=True):
        assert np.array_equal(coco.annToMask(annotation), full)
        assert annotation["area"] == rle.area(annotation["segmentation"]) == full.sum()
    assert annotations[0]["bbox"] == [10, 40, 50.5, 50]
    assert annotations[0]["score"] == pytest.approx(0.9)


def test_coco_without_masks_has_the_boxes_area() -> None:
    first, _ = make(masks=False).to_coco()
    assert first["area"] == 50.5 * 50
