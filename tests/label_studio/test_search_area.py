"""Rectangles to look closer into: which tag draws them, which one counts, and its pixels."""

import pytest

from grounded_labeler.errors import BadRequest, PromptError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.drawings import read_drawings
from grounded_labeler.label_studio.search_area import read_search_areas
from tests.helpers.asking import BRUSH, IMAGE, PROMPT, RECTANGLES, view
from tests.helpers.drawing import box, click, search

SEARCH = '<Rectangle name="search" toName="image" smart="true" smartOnly="true"/>'
CONFIG = read_label_config(view(PROMPT, IMAGE, RECTANGLES, BRUSH, SEARCH))
SIZE_WH = (200, 100)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (SEARCH, "search"),
        ('<Rectangle name="search" toName="image" smart="true"/>', "search"),
        ('<Rectangle name="look" toName="image" model_search="true"/>', "look"),
        ('<Rectangle name="search" toName="image" smart="true" model_search="false"/>', None),
        ('<Rectangle name="search" toName="image" smart="true" model_skip="true"/>', None),
        # Whoever draws boxes with a tag of this name goes on to do so.
        ('<Rectangle name="search" toName="image"/>', None),
        ('<Rectangle name="boxes" toName="image" smart="true"/>', None),
        ('<Rectangle name="search" toName="other" smart="true"/>', None),
        # Label Studio lets nobody draw with it before they have selected one of its labels.
        (RECTANGLES.replace('"label"', '"search" smart="true"'), None),
    ],
)
def test_the_tag_is_a_smart_rectangle_called_search_or_a_marked_one(
    tag: str, name: str | None
) -> None:
    [target] = read_label_config(view(IMAGE, BRUSH, tag)).images
    assert target.search_name == name
    assert (name in {control.name for control in target.controls}) is False


def test_the_tag_draws_no_regions_and_has_nothing_encoded_ahead() -> None:
    [target] = CONFIG.images
    assert [control.name for control in target.controls] == ["label", "label2"]
    assert not target.has_smart_tools
    with pytest.raises(BadRequest, match="no tag to draw with"):
        read_label_config(view(IMAGE, SEARCH))
    with pytest.raises(BadRequest, match='model_search="yes", which must be true or false'):
        read_label_config(view(IMAGE, BRUSH, SEARCH.replace("smart=", 'model_search="yes" smart=')))


@pytest.mark.parametrize(
    ("drawn", "pixels"),
    [
        (search(10, 10, 30, 40), (20, 10, 80, 50)),
        (search(10.1, 10.1, 30, 40), (20, 10, 81, 51)),
        (search(-10, 50, 50, 90), (0, 50, 80, 100)),
        (search(0, 0, 100, 100), (0, 0, 200, 100)),
        # Turned about its upper left corner.
        (search(50, 20, 20, 10, rotation=90), (90, 20, 100, 60)),
        (search(20, 30, -10, -20), (20, 10, 40, 30)),
    ],
)
def test_percents_become_pixels_on_the_image(
    drawn: dict[str, object], pixels: tuple[int, ...]
) -> None:
    [(target, area)] = read_search_areas({"result": [drawn]}, CONFIG)
    assert target.name == "image"
    assert area.in_pixels(SIZE_WH) == pixels


@pytest.mark.parametrize(
    ("drawn", "sentence"),
    [
        (search(120, 10, 30, 40), "outside the image"),
        (search(10, -40, 30, 40), "outside the image"),
        (search(10, 10, 0, 0), "less than 8 pixels"),
        (search(10, 10, 3.4, 50), "less than 8 pixels"),
        (search(98, 10, 50, 50), "less than 8 pixels"),
        (search("x", 10, 30, 40), "no position"),
        (search(float("nan"), 10, 30, 40), "no position"),
    ],
)
def test_what_cannot_be_looked_at_gets_a_sentence(drawn: dict[str, object], sentence: str) -> None:
    with pytest.raises(PromptError, match=sentence):
        read_search_areas({"result": [drawn]}, CONFIG)[0][1].in_pixels(SIZE_WH)


def test_the_newest_shape_counts_alone() -> None:
    first, second = search(0, 0, 50, 50), search(50, 50, 50, 50)
    [(_, area)] = read_search_areas({"result": [first, box(1, 1, 9, 9), second]}, CONFIG)
    assert area.in_pixels(SIZE_WH) == (100, 50, 200, 100)
    # A label that was selected comes as a result of its own.
    label = {"id": second["id"], "type": "labels", "from_name": "names", "to_name": "image"}
    label["value"] = second["value"] | {"labels": ["Circle"]}
    assert len(read_search_areas({"result": [second, label]}, CONFIG)) == 1
    assert read_search_areas({"result": [first, click(1, 1)]}, CONFIG) == []
    results: tuple[object, ...] = ([], "x", None, [3, {"value": 3}])
    for result in results:
        assert read_search_areas({"result": result}, CONFIG) == []
    assert read_search_areas(None, CONFIG) == []


def test_what_a_skipped_tag_draws_is_left_alone() -> None:
    skipped = '<RectangleLabels name="boxes" toName="image" model_skip="true"/>'
    config = read_label_config(view(IMAGE, BRUSH, skipped, SEARCH))
    [(_, area)] = read_search_areas({"result": [search(0, 0, 50, 50), box("x", 1, 9, 9)]}, config)
    assert area.in_pixels(SIZE_WH) == (0, 0, 100, 50)


def test_a_rectangle_to_look_into_is_no_box_around_an_object() -> None:
    shapes = [search(0, 0, 50, 50), click(10, 10)]
    [(_, drawing)] = read_drawings({"result": shapes}, CONFIG)
    assert len(drawing.shapes) == 1
    assert read_drawings({"result": shapes[:1]}, CONFIG) == []


def test_each_image_has_a_tag_of_its_own() -> None:
    second = '<Image name="other" value="$other"/>'
    controls = BRUSH.replace('toName="image"', 'toName="image,other"')
    tags = [
        SEARCH,
        SEARCH.replace('"search" toName="image"', '"closer" toName="other" model_search="true"'),
    ]
    config = read_label_config(view(IMAGE, second, controls, *tags))
    drawn = [search(0, 0, 50, 50), search(0, 0, 20, 20, name="closer") | {"to_name": "other"}]
    areas = read_search_areas({"result": drawn}, config)
    assert [(target.name, area.in_pixels((100, 100))) for target, area in areas] == [
        ("image", (0, 0, 50, 50)),
        ("other", (0, 0, 20, 20)),
    ]
