"""COCO files are read as pycocotools reads them, and what is wrong in one is one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO

from grounded_labeler.coco import coco_mask
from grounded_labeler.preannotate.image_folder import Folder
from grounded_labeler.quality.coco_document import TruthFileError
from grounded_labeler.quality.coco_truth import CocoTruth, read_coco_truth
from tests.quality.drawn import draw, truth_of

SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]


def folder_of(*names: str) -> Folder:
    return Folder((Path("/data/images"),), {name: Path("/data/images", name) for name in names})


def image(number: Any, name: str, **other: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 60, "height": 40} | other


def annotation(number: Any = 1, **other: Any) -> dict[str, Any]:
    own = {"id": number, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]}
    return {name: value for name, value in (own | other).items() if value is not ...}


def document(**other: Any) -> dict[str, Any]:
    return {
        "images": [image(1, "a.png"), image(2, "b.png")],
        "categories": [{"id": 1, "name": "Car"}, {"id": 9, "name": "Bus"}],
        "annotations": [annotation()],
    } | other


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "truth.json"


def read(file: Path, content: Any, *names: str) -> CocoTruth:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    file.write_bytes(data)
    return read_coco_truth(file, folder_of(*(names or ("a.png", "b.png"))))


def refusal(file: Path, content: Any, *names: str) -> str:
    with pytest.raises(TruthFileError) as error:
        read(file, content, *names)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_boxes_masks_and_images_without_anything(file: Path) -> None:
    packed = rle.encode(np.asfortranarray(np.eye(40, 60, dtype=np.uint8)))
    counts = packed["counts"].decode()
    truth = read(
        file,
        document(
            annotations=[
                annotation(1, bbox=[10.5, 10, 20, 50]),
                annotation(2, category_id=9, segmentation=[SQUARE, [0, 0, 5, 0, 5, 5]]),
                annotation(3, segmentation={"size": [40, 60], "counts": counts}, iscrowd=1),
                annotation(4, segmentation={"size": [40, 60], "counts": [0, 2400]}, bbox=...),
                annotation(5, segmentation=[]),
            ]
        ),
    )
    assert truth.labels == ("Car", "Bus")
    assert (truth.missing, truth.unlisted, truth.without_area) == ([], [], 0)
    assert list(truth.truths) == ["a.png", "b.png"]
    assert len(truth.truths["b.png"]) == 0
    found = truth.truths["a.png"]
    assert found.size_hw == truth.truths["b.png"].size_hw == (40, 60)
    assert found.labels == ("Car", "Bus", "Car", "Car", "Car")
    assert found.is_crowd.tolist() == [False, False, True, False, False]
    assert found.boxes.tolist() == [
        [10.5, 10, 30.5, 40], [10, 10, 30, 30], [10, 10, 30, 30], [0, 0, 60, 40], [10, 10, 30, 30],
    ]  # fmt: skip
    assert [mask is None for mask in found.masks] == [True, False, False, False, True]
    assert found.masks[2] == {"size": [40, 60], "counts": counts}
    assert found.masks[3] is not None
    assert coco_mask(found.masks[3]).full().all()


def test_masks_are_those_of_pycocotools(file: Path) -> None:
    chance = np.random.default_rng(0)
    annotations = []
    for number in range(1, 40):
        pixels = np.asfortranarray((chance.random((40, 60)) < 0.3).astype(np.uint8))
        points = chance.uniform(0, 40, (chance.integers(3, 9), 2)).ravel().tolist()
        ends = np.flatnonzero(np.diff(pixels.ravel("F"), prepend=0, append=2))
        lengths = np.diff(ends, prepend=0).tolist()
        every: list[Any] = [
            [points],
            {"size": [40, 60], "counts": rle.encode(pixels)["counts"].decode()},
            {"size": [40, 60], "counts": lengths},
        ]
        annotations.append(annotation(number, segmentation=every[number % 3]))
    found = read(file, document(annotations=annotations)).truths["a.png"]
    theirs = COCO(str(file))
    assert len(found) == len(annotations)
    for mask, own in zip(found.masks, theirs.loadAnns(theirs.getAnnIds(imgIds=[1])), strict=True):
        assert mask is not None
        np.testing.assert_array_equal(coco_mask(mask).full(), theirs.annToMask(own) > 0)


def test_what_the_drawn_truth_writes_is_read_back(file: Path) -> None:
    drawn = draw(3)
    truths = [truth_of(one) for one in drawn]
    labels = sorted({label for truth in truths for label in truth.labels})
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 320, "height": 240}
            for number in range(3)
        ],
        "categories": [{"id": label, "name": label} for label in labels],
        "annotations": [
            {"id": f"{number}-{i}", "image_id": number, "category_id": truth.labels[i],
             "segmentation": truth.masks[i]}
            for number, truth in enumerate(truths)
            for i in range(len(truth))
        ],
    }  # fmt: skip
    found = read(file, content, "0.png", "1.png", "2.png").truths
    for number, truth in enumerate(truths):
        own = found[f"{number}.png"]
        assert (own.labels, own.masks, own.size_hw) == (truth.labels, truth.masks, truth.size_hw)
        np.testing.assert_allclose(own.boxes, truth.boxes, atol=1)


@pytest.mark.parametrize(
    ("listed", "there", "found", "missing", "unlisted"),
    [
        (["x/a.png"], ["x/a.png", "y/a.png"], ["x/a.png"], [], ["y/a.png"]),
        (["./a.png", "x\\b.png"], ["a.png", "x/b.png"], ["a.png", "x/b.png"], [], []),
        (["train/a.png"], ["x/a.png"], ["x/a.png"], [], []),
        (["train/a.png", "val/a.png", "c.png"], ["a.png", "c.png"], ["c.png"],
         ["train/a.png", "val/a.png"], ["a.png"]),
        (["a.png", "c.png"], ["x/a.png", "y/a.png", "c.png"], ["c.png"], ["a.png"],
         ["x/a.png", "y/a.png"]),
        (["a.png", "x/a.png"], ["a.png", "b.png"], ["a.png"], ["x/a.png"], ["b.png"]),
        (["größe 🚗.png"], ["größe 🚗.png"], ["größe 🚗.png"], [], []),
    ],
)  # fmt: skip
def test_images_are_found_by_their_paths_or_else_their_names(
    file: Path, listed: list[str], there: list[str], found: list[str],
    missing: list[str], unlisted: list[str],
) -> None:  # fmt: skip
    images = [image(number, name) for number, name in enumerate(listed, 1)]
    truth = read(file, document(images=images), *there)
    assert (list(truth.truths), truth.missing, truth.unlisted) == (found, missing, unlisted)


def test_annotations_without_area_are_counted(file: Path) -> None:
    content = document(
        annotations=[
            annotation(1, bbox=[10, 10, 0, 5]),
            annotation(2, bbox=[100, 10, 5, 5]),
            annotation(3, bbox=..., segmentation=[[1, 1, 2, 2]]),
            annotation(4, bbox=...),
            annotation(5),
        ]
    )
    truth = read(file, content)
    assert truth.without_area == 4
    assert len(truth.truths["a.png"]) == 1


def test_a_file_may_begin_with_a_byte_order_mark_and_have_more_in_it(file: Path) -> None:
    content = document(info={"year": 2026}, licenses=[])
    content["annotations"][0] |= {"area": 400, "score": 0.5, "attributes": {"occluded": True}}
    data = b"\xef\xbb\xbf" + json.dumps(content).encode()
    assert len(read(file, data).truths["a.png"]) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "truth.json is no JSON: "),
        (b"\xff\xfe", "truth.json is no JSON: "),
        (b"[" * 100_000, "truth.json is no JSON: "),
        ([], "truth.json is no COCO file: at its top, "),
        ({"images": []}, "truth.json is no COCO file: at categories, Field required."),
        (document(images=[image(1, "a.png", width=0)]), "at images.0.width, "),
        (document(images=[image(1, "a.png", width=2**20, height=2**20)]), "more than 1,073,741,"),
        (document(images=[image(1, "a.png", width=10**400)]), "more than 1,073,741,"),
        (document(images=[{"id": 1}]), "at images.0.file_name, Field required."),
        (document(images=[image(1, "a.png"), image(1, "b.png")]), "2 images of the id 1."),
        (document(images=[image(1, "a.png"), image(2, "a.png")]), '2 images of the name "a.png".'),
        (document(categories=[{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]),
         'has 2 categories of the name "x".'),
        (document(categories=[{"id": 1, "name": ""}]), "at categories.0.name, "),
        (document(annotations=[annotation(7, image_id=3)]),
         "has no image 3, which its annotation 7 is of."),
        (document(annotations=[annotation(..., category_id="x")]),
         'has no category "x", which its annotation 1 is of.'),
        (document(annotations=[annotation(bbox=[1, 2, 3])]), "at annotations.0.bbox.3, "),
        (document(annotations=[annotation(bbox=[1, 2, 3, 1e300])]), "at annotations.0.bbox.3, "),
        (b'{"images": [], "categories": [], "annotations": [{"image_id": 1, "category_id": 1, '
         b'"bbox": [NaN, 1, 2, 3]}]}', "at annotations.0.bbox.0, "),
        (document(annotations=[annotation(segmentation=[[*SQUARE, 3]])]),
         'annotation 1 of image "a.png" has a segmentation that cannot be used: a polygon must'),
        (document(annotations=[annotation(segmentation={"size": [60, 40], "counts": [2400]})]),
         "it is of 40 x 60 pixels, not of the image's size"),
        (document(annotations=[annotation(segmentation={"size": [40, 60], "counts": [2399]})]),
         "counts must be of 40 x 60 pixels, got 2,399"),
        (document(annotations=[annotation(segmentation={"size": [40, 60], "counts": "no!"})]),
         "counts must be COCO's packed run lengths"),
        (document(annotations=[annotation(segmentation={"size": [40, 60], "counts": "o" * 99})]),
         "counts must be COCO's packed run lengths"),
        (document(annotations=[annotation(segmentation={"size": [40, 60], "counts": "o0"})]),
         "counts must be of 40 x 60 pixels"),
        (document(annotations=[annotation(iscrowd=2)]), "at annotations.0.iscrowd, "),
        (document(images=[image(1, "z.png")]),
         '/data/images has none of the 1 images of truth.json, such as "z.png".'),
        (document(images=[], annotations=[]), "has none of the 0 images of truth.json."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(file: Path, content: Any, sentence: str) -> None:
    assert sentence in refusal(file, content)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(TruthFileError, match=r"cannot be read: .+\."):
            read_coco_truth(path, folder_of("a.png"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
COUNTS = st.text(st.characters(min_codepoint=48, max_codepoint=111)) | st.lists(st.integers())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "bbox": st.lists(st.floats(), min_size=4, max_size=4) | ANYTHING,
            "segmentation": ANYTHING
            | st.lists(st.lists(st.floats(), max_size=9), max_size=3)
            | st.fixed_dictionaries({"size": st.just([40, 60]), "counts": COUNTS | ANYTHING}),
            "iscrowd": ANYTHING,
            "category_id": st.just(1) | ANYTHING,
        },
    )
)
def test_nothing_in_a_file_ends_in_a_traceback(file: Path, other: dict[str, Any]) -> None:
    try:
        truth = read(file, document(annotations=[annotation(**other)])).truths["a.png"]
    except TruthFileError as error:
        assert str(error).endswith(".")
        return
    assert np.isfinite(truth.boxes).all()
    for mask in truth.masks:
        assert mask is None or coco_mask(mask).size_hw == (40, 60)
