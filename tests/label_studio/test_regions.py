import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface
from numpy.typing import NDArray

from grounded_labeler.core.boxes import box_iou, clip_boxes, from_percent
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes, Detections, Label
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.brush_rle import decode_rle
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.label_studio.regions import (
    drawable_geometries,
    encode_regions,
    object_of,
    text_result,
    wants_masks,
)
from grounded_labeler.label_studio.schema import Control, Geometry, ImageTarget
from grounded_labeler.settings_types import Output

SIZE = (160, 90)  # width, height
OUTPUTS: tuple[Output, ...] = get_args(Output)
CAT, DOG = Label("cat"), Label("dog")


@dataclass(frozen=True)
class Project:
    """A label config as Label Studio's SDK reads it, and as this service does."""

    xml: str
    target: ImageTarget


def project(*controls: tuple[str, Control], other_tags: str = "") -> Project:
    tags = "".join(
        f'<{tag} name="{control.name}" toName="{control.to_name}">{_label_tags(control)}</{tag}>'
        for tag, control in controls
    )
    target = ImageTarget(
        name=controls[0][1].to_name,
        value=ImageValue("$image"),
        controls=tuple(control for _, control in controls),
        labels=(CAT, DOG),
    )
    image = f'<Image name="{target.name}" value="$image"/>'
    return Project(f"<View>{image}{tags}{other_tags}</View>", target)


def _label_tags(control: Control) -> str:
    if control.labels_name != control.name:
        return ""  # they stand in a <Labels> tag
    return "".join(f'<Label value="{label.value}"/>' for label in control.labels)


def labelled(
    tag: str, geometry: Geometry, name: str, *labels: Label, to: str = "image"
) -> tuple[str, Control]:
    """A control tag with labels of its own."""
    return tag, Control(name, to, geometry, tag.lower(), name, labels)


def bare(tag: str, geometry: Geometry) -> tuple[str, Control]:
    """A control tag whose labels stand in LABELS."""
    name = tag.lower()
    return tag, Control(name, "image", geometry, name, "labels", (CAT, DOG))


LABELS = '<Labels name="labels" toName="image"><Label value="cat"/><Label value="dog"/></Labels>'
RECTANGLES = labelled("RectangleLabels", "box", "boxes", CAT, DOG)
BRUSHES = labelled("BrushLabels", "brush", "brushes", CAT, DOG)
POLYGONS = labelled("PolygonLabels", "polygon", "polygons", CAT, DOG)

PROJECTS = {
    "boxes": project(RECTANGLES),
    "brush": project(BRUSHES),
    "polygons": project(POLYGONS),
    "boxes and brush": project(RECTANGLES, BRUSHES),
    "polygons, then boxes": project(POLYGONS, RECTANGLES),
    "all three": project(POLYGONS, RECTANGLES, BRUSHES),
    "bare rectangle": project(bare("Rectangle", "box"), other_tags=LABELS),
    "bare brush": project(bare("Brush", "brush"), other_tags=LABELS),
    "bare polygon": project(bare("Polygon", "polygon"), other_tags=LABELS),
    "bare, all three": project(
        bare("Rectangle", "box"), bare("Brush", "brush"), bare("Polygon", "polygon"),
        other_tags=LABELS,
    ),
    "rectangle without labels": project(
        ("Rectangle", Control("shape", "image", "box", "rectangle", "shape", ()))
    ),
    "a control per label": project(
        labelled("RectangleLabels", "box", "cats", CAT),
        labelled("RectangleLabels", "box", "dogs", DOG),
        labelled("BrushLabels", "brush", "dog masks", DOG),
    ),
    "the second of two images": project(
        labelled("RectangleLabels", "box", "boxes2", CAT, DOG, to="image2"),
        labelled("BrushLabels", "brush", "brushes2", CAT, DOG, to="image2"),
        other_tags='<Image name="image" value="$first"/>'
        '<RectangleLabels name="boxes" toName="image"><Label value="cat"/></RectangleLabels>',
    ),
}  # fmt: skip

# What is drawn, by project, whether a segmenter runs and output; None where nothing can be.
Geometries = tuple[Geometry, ...]
BOX: Geometries = ("box",)
BRUSH: Geometries = ("brush",)
POLYGON: Geometries = ("polygon",)
GEOMETRIES: list[tuple[str, bool, tuple[Geometries, ...] | None]] = [
    # auto, boxes, masks, both
    ("boxes", False, (BOX, BOX, BOX, BOX)),
    ("boxes", True, (BOX, BOX, BOX, BOX)),
    ("brush", False, None),
    ("brush", True, (BRUSH, BRUSH, BRUSH, BRUSH)),
    ("polygons", False, None),
    ("bare brush", False, None),
    ("polygons", True, (POLYGON, POLYGON, POLYGON, POLYGON)),
    ("boxes and brush", False, (BOX, BOX, BOX, BOX)),
    ("boxes and brush", True, (BRUSH, BOX, BRUSH, (*BOX, *BRUSH))),
    ("polygons, then boxes", True, (POLYGON, BOX, POLYGON, (*BOX, *POLYGON))),
    ("all three", True, (BRUSH, BOX, BRUSH, (*BOX, *BRUSH))),
]

CAT_BOX, DOG_BOX, EDGE_BOX = (10, 20, 50, 60), (80, 10, 140, 80), (130, 70, 160, 90)


def detections(*labels: str | None) -> Detections:
    """One detection per label: in the middle, elsewhere, and in the image's last corner."""
    count = len(labels)
    boxes = np.array([CAT_BOX, DOG_BOX, EDGE_BOX][:count], np.float32).reshape(-1, 4)
    scores = np.array([0.91234567, 0.5, 1.0][:count], np.float32)
    phrases = tuple(["a tabby cat", "dog", "shoe"][:count])
    return Detections(boxes, scores, phrases, labels)


def masks_of(found: Detections) -> list[Mask]:
    """An ellipse with a hole in each box."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width] + 0.5
    masks = []
    for x1, y1, x2, y2 in found.boxes:
        from_middle = np.hypot((2 * x - x1 - x2) / (x2 - x1), (2 * y - y1 - y2) / (y2 - y1))
        masks.append(Mask.from_full((from_middle < 1) & (from_middle > 0.3)))
    return masks


def check(results: list[dict[str, Any]], in_project: Project) -> None:
    """Hold what every answer must hold: the SDK's rules, plain JSON and the fields needed."""
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    interface: Any = LabelInterface(in_project.xml)
    prediction = {"result": results, "score": 0.5, "model_version": "test"}
    assert interface.validate_prediction(prediction, return_errors=True) == []
    width, height = SIZE
    for region in results:
        assert region["to_name"] == in_project.target.name
        assert region["original_width"] == width
        assert region["original_height"] == height
        assert region["image_rotation"] == 0
        assert 0 <= region["score"] <= 1
    shapes = [region["id"] for region in results if region["type"] != "labels"]
    assert len(set(shapes)) == len(shapes)


def drawn_box(region: dict[str, Any]) -> Boxes:
    value = region["value"]
    percent = np.array([[value[key] for key in ("x", "y", "width", "height")]])
    return from_percent(percent, SIZE)


def drawn_mask(region: dict[str, Any]) -> NDArray[np.bool_]:
    width, height = SIZE
    if "rle" in region["value"]:
        return decode_rle(region["value"]["rle"], (height, width))
    points = np.array(region["value"]["points"]) / 100 * SIZE
    canvas = np.zeros((height * 8, width * 8), np.float32)
    cv2.fillPoly(canvas, [np.rint(points * 8).astype(np.int32)], 1)
    return np.asarray(cv2.resize(canvas, SIZE, interpolation=cv2.INTER_AREA) > 0.5)


@pytest.mark.parametrize(("name", "has_segmenter", "expected"), GEOMETRIES)
@pytest.mark.parametrize(("place", "output"), enumerate(["auto", "boxes", "masks", "both"]))
def test_drawable_geometries(
    name: str,
    has_segmenter: bool,
    expected: tuple[Geometries, ...] | None,
    place: int,
    output: Output,
) -> None:
    target = PROJECTS[name].target
    if expected is None:
        with pytest.raises(BadRequest):
            drawable_geometries(target, output, has_segmenter)
        with pytest.raises(BadRequest):
            wants_masks(target, output, has_segmenter)
    else:
        assert drawable_geometries(target, output, has_segmenter) == expected[place]
        assert wants_masks(target, output, has_segmenter) == (expected[place] != BOX)


class CountedControl(Control):
    """A control that counts how often it is searched for a label."""

    searches: ClassVar[int] = 0

    def has(self, label: str | None) -> bool:
        type(self).searches += 1
        return super().has(label)


def test_geometries_are_worked_out_once_per_config() -> None:
    labels = tuple(Label(f"label {i}") for i in range(20))
    control = CountedControl("boxes", "image", "box", "rectanglelabels", "boxes", labels)
    target = replace(PROJECTS["brush"].target, controls=(control,), labels=labels)

    def work_out() -> int:
        assert not wants_masks(target, "auto", has_segmenter=True)
        for label in (*labels, Label("unicorn"), Label("hydra")):
            assert drawable_geometries(target, "auto", True, label.value) == ("box",)
        return CountedControl.searches

    searches = work_out()
    assert searches == len(labels) + 1
    assert work_out() == searches


def test_the_error_says_what_is_missing_and_both_ways_out() -> None:
    with pytest.raises(BadRequest) as raised:
        drawable_geometries(PROJECTS["brush"].target, "auto", has_segmenter=False)
    assert str(raised.value) == (
        'The controls of image "image" ("brushes") hold only masks and no segmenter runs: '
        'add RectangleLabels to the label config, or have one run: by segmenter="..." on its '
        "prompt field where the service offers several models, else by SEGMENTER=mobile-sam."
    )


@pytest.mark.parametrize("name", PROJECTS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    "labels",
    [(), ("cat",), (None,), ("cat", "dog", None), ("unicorn", "cat", "cat")],
    ids=["none", "one", "one without label", "three", "one unknown label"],
)
def test_every_project_and_output(name: str, output: Output, labels: tuple[str | None]) -> None:
    found, masks = detections(*labels), masks_of(detections(*labels))
    in_project = PROJECTS[name]
    results = encode_regions(found, masks, in_project.target, SIZE, output)
    check(results, in_project)
    shapes = [region for region in results if region["type"] != "labels"]
    owners = [
        i
        for i, label in enumerate(labels)
        for _ in drawable_geometries(in_project.target, output, True, label)
    ]
    assert len(shapes) == len(owners)
    for i, region in zip(owners, shapes, strict=True):
        if "width" in region["value"]:
            assert box_iou(drawn_box(region), found.boxes[i : i + 1])[0, 0] > 0.999
            assert region["value"]["rotation"] == 0
        else:
            drawn, mask = drawn_mask(region), masks[i].full()
            assert (drawn & mask).sum() / (drawn | mask).sum() > 0.95
        assert region["score"] == pytest.approx(found.scores[i], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "key"),
    [("boxes", "rectanglelabels"), ("brush", "brushlabels"), ("polygons", "polygonlabels")],
)
def test_a_label_stands_in_the_value_and_its_absence_is_explained(name: str, key: str) -> None:
    found = detections("cat", None, "unicorn")
    regions = encode_regions(found, masks_of(found), PROJECTS[name].target, SIZE, "auto")
    assert [region["type"] for region in regions] == [key] * 3
    assert [region["value"][key] for region in regions] == [["cat"], [], []]
    assert [region.get("meta") for region in regions] == [
        None, {"text": ["dog"]}, {"text": ["shoe"]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [("bare rectangle", "rectangle"), ("bare brush", "brush"), ("bare polygon", "polygon")],
)
def test_a_bare_shape_and_its_label_share_an_id(name: str, kind: str) -> None:
    found = detections("cat", None)
    results = encode_regions(found, masks_of(found), PROJECTS[name].target, SIZE, "auto")
    shape, label, unlabelled = results
    assert [result["type"] for result in results] == [kind, "labels", kind]
    assert [result["from_name"] for result in results] == [kind, "labels", kind]
    assert shape["id"] == label["id"] != unlabelled["id"]
    assert label["value"] == {**shape["value"], "labels": ["cat"]}
    assert "meta" not in shape
    assert unlabelled["meta"] == {"text": ["dog"]}


@pytest.mark.parametrize("name", ["bare polygon", "polygons, then boxes"])
def test_the_ids_of_all_regions_of_one_object_begin_alike(name: str) -> None:
    found = detections("cat", "dog")
    parts = np.zeros((2, SIZE[1], SIZE[0]), np.bool_)
    parts[:, 10:40, 10:40] = parts[:, 50:80, 10:40] = True
    masks = [Mask.from_full(part) for part in parts]
    results = encode_regions(found, masks, PROJECTS[name].target, SIZE, "both")
    ids = list(dict.fromkeys(result["id"] for result in results))
    objects = [object_of(one) for one in ids]
    assert len(set(objects)) == len(found)
    per_object = len(ids) // len(found)
    assert per_object == 2 + ("boxes" in name)
    assert objects == sorted(objects, key=objects.index)
    assert ids[0] == objects[0]  # the only id where there is one region


@pytest.mark.parametrize("other", ["y3O1S0tttR", "a-2", "", "0" * 31 + "-2", "0" * 32 + "-"])
def test_an_id_that_the_service_did_not_make_is_of_itself(other: str) -> None:
    assert object_of(other) == other


def test_a_shape_without_any_labels_is_drawn_without() -> None:
    target = PROJECTS["rectangle without labels"].target
    (region,) = encode_regions(detections("cat"), None, target, SIZE, "auto")
    assert set(region["value"]) == {"x", "y", "width", "height", "rotation"}
    assert region["meta"] == {"text": ["a tabby cat"]}


def test_a_region_goes_to_the_control_that_has_its_label() -> None:
    target = PROJECTS["a control per label"].target
    found = detections("cat", "dog", None)
    regions = encode_regions(found, masks_of(found), target, SIZE, "both")
    assert [(region["from_name"], region["value"].get(region["type"])) for region in regions] == [
        ("cats", ["cat"]),
        ("dogs", ["dog"]),
        ("dog masks", ["dog"]),
        ("cats", []),
        ("dog masks", []),
    ]


@pytest.mark.parametrize(
    ("output", "drawn"),
    [
        ("auto", [("boxes", "cat"), ("brushes", "dog"), ("brushes", None)]),
        ("boxes", [("boxes", "cat"), ("brushes", "dog"), ("boxes", None)]),
        ("masks", [("boxes", "cat"), ("brushes", "dog"), ("brushes", None)]),
        ("both", [("boxes", "cat"), ("brushes", "dog"), ("boxes", None), ("brushes", None)]),
    ],
)
def test_a_label_of_one_kind_of_tag_only_is_drawn_with_that_tag(
    output: Output, drawn: list[tuple[str, str | None]]
) -> None:
    in_project = project(
        labelled("RectangleLabels", "box", "boxes", CAT),
        labelled("BrushLabels", "brush", "brushes", DOG),
    )
    assert wants_masks(in_project.target, output, has_segmenter=True)
    found = detections("cat", "dog", None)
    results = encode_regions(found, masks_of(found), in_project.target, SIZE, output)
    check(results, in_project)
    assert [
        (region["from_name"], next(iter(region["value"][region["type"]]), None))
        for region in results
    ] == drawn
    # Without a segmenter a box without label is all that can be drawn of a dog.
    results = encode_regions(found, None, in_project.target, SIZE, output)
    assert [region["value"]["rectanglelabels"] for region in results] == [["cat"], [], []]


def test_fields_of_a_box_at_the_edge() -> None:
    found = detections("cat", "dog", "cat")
    *_, region = encode_regions(found, None, PROJECTS["boxes"].target, SIZE, "auto")
    assert region.pop("id")
    assert region == {
        "from_name": "boxes",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 160,
        "original_height": 90,
        "image_rotation": 0,
        "score": 1.0,
        "value": {
            "x": 81.25,
            "y": 77.7778,
            "width": 18.75,
            "height": 22.2222,
            "rotation": 0,
            "rectanglelabels": ["cat"],
        },
    }


def test_the_score_is_rounded() -> None:
    (region,) = encode_regions(detections("cat"), None, PROJECTS["boxes"].target, SIZE, "auto")
    assert region["score"] == 0.9123
    assert type(region["score"]) is float


def test_brush_and_polygon_values_say_what_they_are() -> None:
    found = detections("cat")
    (brush,) = encode_regions(found, masks_of(found), PROJECTS["brush"].target, SIZE, "auto")
    assert set(brush["value"]) == {"format", "rle", "brushlabels"}
    assert brush["value"]["format"] == "rle"
    (polygon,) = encode_regions(found, masks_of(found), PROJECTS["polygons"].target, SIZE, "auto")
    assert polygon["value"]["closed"] is True


def test_every_part_of_a_mask_is_a_polygon_of_the_same_object() -> None:
    full = np.zeros(SIZE[::-1], np.bool_)
    full[20:40, 10:30] = full[50:60, 35:50] = True
    in_project = PROJECTS["polygons"]
    regions = encode_regions(
        detections(None), [Mask.from_full(full)], in_project.target, SIZE, "auto"
    )
    check(regions, in_project)
    assert len(regions) == 2
    for region in regions:
        assert region["score"] == 0.9123
        assert region["meta"] == {"text": ["a tabby cat"]}
    np.testing.assert_array_equal(drawn_mask(regions[0]) | drawn_mask(regions[1]), full)


@pytest.mark.parametrize("name", ["boxes and brush", "polygons, then boxes", "bare, all three"])
def test_an_object_with_an_empty_mask_is_drawn_as_a_box(name: str) -> None:
    found, target = detections("cat", "dog"), PROJECTS[name].target
    masks = [Mask.from_full(np.zeros(SIZE[::-1], np.bool_)), masks_of(found)[1]]
    drawn = [
        r for r in encode_regions(found, masks, target, SIZE, "masks") if r["type"] != "labels"
    ]
    assert [("width" in region["value"], region["score"]) for region in drawn] == [
        (True, 0.9123),
        (False, 0.5),
    ]
    both = encode_regions(found, masks, target, SIZE, "both")
    assert [region["score"] for region in both if region["type"] != "labels"] == [0.9123, 0.5, 0.5]


@pytest.mark.parametrize("name", ["boxes", "brush"])
def test_nothing_found_is_nothing_drawn(name: str) -> None:
    empty = Detections.empty()
    assert encode_regions(empty, None, PROJECTS[name].target, SIZE, "auto") == []


def test_masks_cannot_be_drawn_without_masks() -> None:
    with pytest.raises(BadRequest):
        encode_regions(detections("cat"), None, PROJECTS["brush"].target, SIZE, "auto")


def one_pixel(size_hw: tuple[int, int]) -> Mask:
    return Mask(np.ones((1, 1), np.bool_), 0, 0, size_hw)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        pytest.param([(160, 90)], r"1 of 90 x 160 pixels, got \[\(160, 90\)\]", id="turned"),
        pytest.param([], r"1 of 90 x 160 pixels, got \[\]", id="too few"),
        pytest.param([(90, 160)] * 2, r"got \[\(90, 160\), \(90, 160\)\]", id="too many"),
    ],
)
def test_masks_of_another_number_or_size_are_refused(
    sizes: list[tuple[int, int]], message: str
) -> None:
    masks = [one_pixel(size_hw) for size_hw in sizes]
    with pytest.raises(ValueError, match=message):
        encode_regions(detections("cat"), masks, PROJECTS["brush"].target, SIZE, "auto")


def test_text_for_a_text_area() -> None:
    area = '<TextArea name="status" toName="image" smart="false"/>'
    in_project = project(RECTANGLES, other_tags=area)
    result = text_result("status", in_project.target, "2 cats")
    interface: Any = LabelInterface(in_project.xml)
    assert interface.validate_prediction({"result": [result]}, return_errors=True) == []
    assert result["value"] == {"text": ["2 cats"]}


corner = st.floats(-50, 5000, width=32)
side = st.floats(1, 5000, width=32)


@given(corner, corner, side, side, st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_any_box_is_drawn_inside_the_image(
    x: float, y: float, width: float, height: float, size_wh: tuple[int, int]
) -> None:
    boxes = np.array([[x, y, x + width, y + height]], np.float32)
    found = replace(detections("cat"), boxes=boxes)
    results = encode_regions(found, None, PROJECTS["boxes"].target, size_wh, "auto")
    (region,) = json.loads(json.dumps(results, allow_nan=False))
    value = region["value"]
    assert min(value[key] for key in ("x", "y", "width", "height")) >= 0
    assert value["x"] + value["width"] <= 100
    assert value["y"] + value["height"] <= 100
    percent = np.array([[value[key] for key in ("x", "y", "width", "height")]])
    inside = clip_boxes(boxes, size_wh)
    np.testing.assert_allclose(from_percent(percent, size_wh), inside, atol=0.01)
