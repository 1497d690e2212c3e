"""What is drawn in Label Studio is read back as objects, and what nobody drew does no harm."""

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grounded_labeler.coco import coco_mask
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.annotations import AnnotationError, holds_mask, read_objects
from grounded_labeler.label_studio.brush_rle import encode_rle
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.mask_image import bitmask_url
from grounded_labeler.label_studio.regions import encode_regions
from grounded_labeler.label_studio.schema import ImageTarget
from tests.helpers.asking import BRUSH, IMAGE, LABELS, POLYGONS, RECTANGLES, view
from tests.helpers.drawing import box, click, ellipse

WIDTH, HEIGHT = SIZE_WH = (200, 100)
BITMASK = f'<BitmaskLabels name="bits" toName="image">{LABELS}</BitmaskLabels>'
NAMES = f'<Labels name="names" toName="image">{LABELS}</Labels>'


def target(*tags: str) -> ImageTarget:
    [image] = read_label_config(view(IMAGE, *tags)).images
    return image


ALL = target(RECTANGLES, BRUSH, POLYGONS, BITMASK)


def pixels(*corners: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Rectangles of an image of 200 x 100 pixels, by their corners."""
    full = np.zeros((HEIGHT, WIDTH), np.bool_)
    for x0, y0, x1, y1 in corners:
        full[y0:y1, x0:x1] = True
    return full


def disc(x: float, y: float, radius: float, size_wh: tuple[int, int] = SIZE_WH) -> Any:
    ys, xs = np.mgrid[: size_wh[1], : size_wh[0]] + 0.5
    return np.hypot(xs - x, ys - y) <= radius


def tight(full: NDArray[np.bool_]) -> list[float]:
    ys, xs = np.nonzero(full)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def drawn(masks: list[NDArray[np.bool_]], output: Any, *tags: str) -> list[dict[str, Any]]:
    """What the service draws of circles with these masks."""
    found = Detections(
        np.array([tight(mask) for mask in masks], np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(masks), dtype=np.float32),
        ("circle",) * len(masks),
        ("Circle",) * len(masks),
    )
    size_wh = (masks[0].shape[1], masks[0].shape[0])
    made = [Mask.from_full(mask) for mask in masks]
    return encode_regions(found, made, target(*tags), size_wh, output)


def region(kind: str, value: dict[str, Any], **other: Any) -> dict[str, Any]:
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    return {"to_name": "image", "from_name": "x", "type": kind, "value": value} | size | other


def brush(full: NDArray[np.bool_], label: str = "Circle", **other: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": encode_rle(Mask.from_full(full)), "brushlabels": [label]}
    size = {"original_width": full.shape[1], "original_height": full.shape[0]}
    return region("brushlabels", value, **size | other)


def polygon(points: Any, label: str = "Circle", **other: Any) -> dict[str, Any]:
    value = {"points": points, "closed": True, "polygonlabels": [label]}
    return region("polygonlabels", value, **other)


def percent_of(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    return x0 / WIDTH * 100, y0 / HEIGHT * 100, (x1 - x0) / WIDTH * 100, (y1 - y0) / HEIGHT * 100


def full_masks(truth: Truth) -> list[NDArray[np.bool_] | None]:
    return [None if mask is None else coco_mask(mask).full() for mask in truth.masks]


def iou(a: NDArray[np.bool_] | None, b: NDArray[np.bool_]) -> float:
    assert a is not None
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize(
    ("tags", "least"),
    [((BRUSH,), 1.0), ((BITMASK,), 1.0), ((POLYGONS,), 0.95), ((NAMES, '<Brush name="b" '
     'toName="image"/>'), 1.0), ((NAMES, '<Polygon name="p" toName="image"/>'), 0.95),
     ((NAMES, '<Bitmask name="m" toName="image"/>'), 1.0)],
)  # fmt: skip
def test_masks_come_back_as_they_were_drawn(tags: tuple[str, ...], least: float) -> None:
    masks = [disc(40, 50, 25), disc(130, 40, 30) & ~disc(130, 40, 12)]
    truth = read_objects(drawn(masks, "masks", *tags), target(*tags))
    assert truth.labels == ("Circle", "Circle")
    assert truth.size_hw == (HEIGHT, WIDTH)
    for read, box_read, mask in zip(full_masks(truth), truth.boxes, masks, strict=True):
        assert iou(read, mask) >= least
        np.testing.assert_allclose(box_read, tight(mask), atol=1.0)


@pytest.mark.parametrize("tags", [(RECTANGLES,), (NAMES, '<Rectangle name="r" toName="image"/>')])
def test_boxes_come_back_as_they_were_drawn(tags: tuple[str, ...]) -> None:
    masks = [pixels((10, 20, 60, 90)), pixels((100, 0, 200, 100))]
    truth = read_objects(drawn(masks, "boxes", *tags), target(*tags))
    np.testing.assert_allclose(truth.boxes, [tight(mask) for mask in masks], atol=1e-3)
    assert truth.labels == ("Circle", "Circle")
    assert truth.masks == (None, None)
    assert not truth.is_crowd.any()


@pytest.mark.parametrize("masks_with", [BRUSH, BITMASK, POLYGONS])
def test_what_the_service_draws_of_one_object_is_one_object(masks_with: str) -> None:
    # Two parts far from each other, and an object whose mask is much smaller than its box.
    masks = [pixels((10, 10, 40, 40), (80, 10, 120, 90)), pixels((150, 10, 160, 20))]
    result = drawn(masks, "both", RECTANGLES, masks_with)
    [two, _] = [item for item in result if item["type"] == "rectanglelabels"]
    two["value"]["width"] += 1.0  # which an annotator moved
    truth = read_objects(result, target(RECTANGLES, masks_with))
    assert len(truth) == 2
    np.testing.assert_allclose(truth.boxes[0], [10, 10, 122, 90], atol=1e-3)
    for read, mask in zip(full_masks(truth), masks, strict=True):
        assert iou(read, mask) > 0.9


def test_parts_that_got_other_labels_or_places_are_objects_of_their_own() -> None:
    masks = [pixels((10, 10, 40, 40), (80, 10, 120, 90))]
    result = drawn(masks, "both", RECTANGLES, POLYGONS)
    result[1]["value"]["polygonlabels"] = ["Square"]
    truth = read_objects(result, ALL)
    assert sorted(truth.labels) == ["Circle", "Square"]
    result = drawn(masks, "both", RECTANGLES, POLYGONS)
    x, y, width, height = percent_of(150, 0, 200, 50)
    result[0]["value"] |= {"x": x, "y": y, "width": width, "height": height}
    truth = read_objects(result, ALL)
    assert [mask is None for mask in truth.masks] == [False, True]


def test_a_rectangle_and_a_mask_that_lie_on_one_another_are_one_object() -> None:
    circle = disc(50, 50, 30)
    x, y, width, height = percent_of(19, 19, 81, 82)
    drawn_box = box(x, y, width, height)
    truth = read_objects([brush(circle), drawn_box], ALL, SIZE_WH)
    assert len(truth) == 1
    np.testing.assert_allclose(truth.boxes, [[19, 19, 81, 82]], atol=1e-3)
    assert iou(full_masks(truth)[0], circle) == 1
    other = box(x, y, width, height, label="Square")
    assert read_objects([brush(circle), other], ALL, SIZE_WH).labels == ("Circle", "Square")
    apart = box(x + 10, y, width, height)
    assert len(read_objects([brush(circle), apart], ALL, SIZE_WH)) == 2


def test_the_best_pair_is_made_first_and_each_region_once() -> None:
    near, nearer = percent_of(12, 12, 62, 62), percent_of(10, 10, 60, 60)
    result = [box(*near), brush(pixels((10, 10, 60, 60))), box(*nearer)]
    truth = read_objects(result, ALL, SIZE_WH)
    assert len(truth) == 2
    assert [mask is None for mask in truth.masks] == [True, False]
    np.testing.assert_allclose(truth.boxes[1], [10, 10, 60, 60], atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "corners"),
    [
        (box(90, 90, 30, 30), [180, 90, 200, 100]),
        (box(50, 50, 10, 20, rotation=90), [80, 50, 100, 70]),
        (ellipse(50, 50, 10, 20), [80, 30, 120, 70]),
        (ellipse(50, 50, 20, 10, rotation=90), [90, 10, 110, 90]),
        (polygon([[10, 10], [30, 10], [30, 50], [10, 50]]), [20, 10, 60, 50]),
        (polygon([[-10, 10], [30, 10], [30, 500], [-10, 50]]), [0, 10, 60, 100]),
    ],
)
def test_shapes_as_their_boxes(shape: dict[str, Any], corners: list[float]) -> None:
    truth = read_objects([shape], ALL, SIZE_WH)
    np.testing.assert_allclose(truth.boxes, [corners], atol=0.51)
    assert truth.labels == ("Circle",)


def test_a_polygon_of_thousands_of_points_is_read() -> None:
    angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    points = np.stack([50 + 15 * np.cos(angles), 50 + 30 * np.sin(angles)], axis=1)
    truth = read_objects([polygon(points.tolist())], ALL)
    assert iou(full_masks(truth)[0], disc(100, 50, 30)) > 0.97


def test_a_polygon_that_runs_to_and_fro_forever_is_passed_over() -> None:
    points = [[0, 0], [100, 100]] * 40_000
    assert not len(read_objects([polygon(points)], ALL, (2000, 2000)))


@pytest.mark.parametrize(
    ("own", "label"),
    [
        (["Circle", "Square"], "Circle"),
        (["Red", "Square"], "Square"),  # the first that the config has
        (["Red", "Blue"], "Red"),  # which stays with its name
        ([], None),
        (None, None),
        ([""], None),
        ("Circle", None),
        ([3, "Ring"], "Ring"),
    ],
)
def test_a_region_counts_under_one_label(own: object, label: str | None) -> None:
    shape = box(10, 10, 20, 20, label=None)
    shape["value"]["rectanglelabels"] = own
    truth = read_objects([shape], ALL)
    assert truth.labels == (() if label is None else (label,))


def test_labels_are_saved_with_their_alias() -> None:
    tags = '<RectangleLabels name="l" toName="image"><Label value="A car" alias="car"/></R>'
    own = target(tags.replace("</R>", "</RectangleLabels>"))
    result = [box(10, 10, 20, 20, label="car"), box(60, 60, 20, 20, label="A car")]
    assert read_objects(result, own).labels == ("car", "A car")


def test_the_labels_of_several_tags_are_on_one_region() -> None:
    shape = box(10, 10, 20, 20, label="Red") | {"id": "a"}
    name = shape | {"type": "labels", "value": shape["value"] | {"labels": ["Ring"]}}
    text = shape | {"type": "textarea", "value": shape["value"] | {"text": ["Square"]}}
    for result in ([shape, name, text], [text, name, shape]):
        assert read_objects(result, ALL).labels == ("Ring",)


def test_only_regions_of_the_image_count() -> None:
    result = [
        box(10, 10, 20, 20) | {"to_name": "another"},
        click(50, 50),
        region("vectorlabels", {"vertices": [[1, 2]], "vectorlabels": ["Circle"]}),
        region("choices", {"choices": ["Circle"]}),
        region("textarea", {"text": ["Circle"]}),
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        box(50, 50, 10, 10, label="Ring"),
    ]
    assert read_objects(result, ALL, SIZE_WH).labels == ("Ring",)


def test_percent_are_of_the_displayed_image() -> None:
    turned = box(10, 10, 50, 50)  # which says 640 x 480
    truth = read_objects([turned], ALL, (100, 200))
    assert truth.size_hw == (200, 100)
    np.testing.assert_allclose(truth.boxes, [[10, 20, 60, 120]], atol=1e-3)
    assert read_objects([turned], ALL).size_hw == (480, 640)


@pytest.mark.parametrize("kind", ["brush", "bitmask"])
@pytest.mark.parametrize("says", ["right", "another", "nothing"])
def test_a_mask_of_another_size_is_one_sentence(kind: str, says: str) -> None:
    mask = Mask.from_full(pixels((0, 0, 20, 20)))
    value: dict[str, Any] = {"imageDataURL": bitmask_url(mask), "bitmasklabels": ["Circle"]}
    if kind == "brush":
        value = {"rle": encode_rle(mask), "brushlabels": ["Circle"]}
    item = region(f"{kind}labels", value, id="abc")
    if says == "another":
        item |= {"original_width": WIDTH, "original_height": HEIGHT}
    if says == "nothing":
        del item["original_width"]
    if says == "right":
        item |= {"original_width": 60, "original_height": 100}
    with pytest.raises(AnnotationError) as error:
        read_objects([item], ALL, (60, 100))
    assert 'The mask "abc" does not fit the image of 60 x 100 pixels' in str(error.value)
    # A turned image has as many pixels.
    item |= {"original_width": WIDTH, "original_height": HEIGHT}
    with pytest.raises(AnnotationError, match="drawn on one of 200 x 100"):
        read_objects([item], ALL, (100, 200))


def test_nothing_drawn_is_a_truth_where_the_size_is_known() -> None:
    truth = read_objects([], ALL, SIZE_WH)
    assert len(truth) == 0
    assert truth.size_hw == (100, 200)
    with pytest.raises(AnnotationError, match='how large the image "image" is'):
        read_objects([], ALL)


@pytest.mark.parametrize(
    "item",
    [
        polygon([[10, 10], [20, 20]]), polygon([]), polygon(None), polygon("x"),
        polygon([[10, 10], [20, float("nan")], [30, 30]]),
        polygon([[10, 10], [20], [30, 30]]), polygon([[10, 10], None, [30, 30]]),
        polygon([[10, 10], [20, 10**400], [30, 30]]),
        polygon([[10, 10], [10, 10], [10, 10]]),
        box(10, 10, 0, 10), box(200, 10, 10, 10), box(None, 10, 10, 10), box(10, True, 10, 10),
        brush(pixels()), brush(pixels()) | {"value": {"rle": None, "brushlabels": ["Circle"]}},
        region("bitmasklabels", {"bitmasklabels": ["Circle"]}),
        region("rectanglelabels", {"rectanglelabels": ["Circle"]}),
        region("rectanglelabels", {}) | {"value": None},
    ],
)  # fmt: skip
def test_what_is_no_region_is_passed_over(item: dict[str, Any]) -> None:
    assert len(read_objects([item], ALL, SIZE_WH)) == 0
    ring = box(50, 50, 10, 10, label="Ring")
    assert read_objects([item, ring], ALL, SIZE_WH).labels == ("Ring",)


@pytest.mark.parametrize(
    ("item", "is_mask"),
    [
        (box(1, 1, 9, 9), False), (ellipse(9, 9, 1, 1), False), (click(1, 1), False),
        (polygon([[1, 1], [9, 9], [1, 9]]), True), (brush(pixels()), True),
        (region("bitmask", {}), True), (polygon([]) | {"to_name": "another"}, False),
    ],
)  # fmt: skip
def test_whether_a_result_holds_a_mask(item: dict[str, Any], is_mask: bool) -> None:
    assert holds_mask([box(1, 1, 9, 9), item], ALL) == is_mask


def test_regions_that_cannot_be_read_are_counted_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        read_objects([polygon(None), polygon([]), box(1, 1, 9, 9)], ALL)
    assert "2 region(s) cannot be read" in caplog.text


@pytest.mark.parametrize("result", [None, "x", 3, {}, {"result": []}, [None, 3, "x", [], {}]])
def test_what_is_no_result_holds_no_object(result: object) -> None:
    assert not holds_mask(result, ALL)
    assert len(read_objects(result, ALL, SIZE_WH)) == 0


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["image", "Circle", "a", "data:image/png;base64,iVBORw0KGgo="]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)  # fmt: skip
KINDS = ["rectangle", "ellipse", "polygon", "brush", "bitmask", "keypoint", "", "choices"]
NUMBERS = ["x", "y", "width", "height", "rotation", "radiusX", "radiusY"]
VALUES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(NUMBERS, st.floats(-200, 200) | ANYTHING)
    | {
        "points": st.lists(st.tuples(st.floats(), st.floats()).map(list)) | ANYTHING,
        "rle": st.lists(st.integers(0, 255)) | ANYTHING,
        "imageDataURL": ANYTHING,
        "labels": st.just(["Circle"]) | ANYTHING,
    },
)
ITEMS = st.fixed_dictionaries(
    {"to_name": st.just("image"), "value": VALUES | ANYTHING,
     "type": st.sampled_from(KINDS + [f"{kind}labels" for kind in KINDS]) | ANYTHING},
    optional={"id": st.sampled_from(["a", "b", "0" * 32, "0" * 32 + "-2"]) | ANYTHING,
              "original_width": st.just(WIDTH) | ANYTHING,
              "original_height": st.just(HEIGHT) | ANYTHING},
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ITEMS, max_size=5) | ANYTHING, st.sampled_from([None, SIZE_WH]))
@example([box(1, 1, 1e-30, 1e-30)], SIZE_WH)
def test_nothing_that_anybody_sends_ends_in_a_traceback(
    result: object, size_wh: tuple[int, int] | None
) -> None:
    try:
        truth = read_objects(result, ALL, size_wh)
    except GroundedLabelerError as error:
        assert str(error).endswith(".")
        return
    assert np.isfinite(truth.boxes).all()
    assert (truth.boxes[:, 2:] > truth.boxes[:, :2]).all()
    assert all(mask is None or mask["size"] == list(truth.size_hw) for mask in truth.masks)
