"""What an annotator typed, as Label Studio's requests and annotations hold it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.context import TypedPrompt, newest_prompt, read_context
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.label_studio.schema import Control, ImageTarget, Overrides
from tests.conftest import DATA

BOX = Control("label", "image", "box", "rectanglelabels", "label", ())
TARGET = ImageTarget("image", ImageValue("$image"), (BOX,), (), prompt_name="prompt")


def captured(name: str) -> dict[str, Any]:
    (path,) = (DATA / "label-studio").glob(f"{name}_*.json")
    body: dict[str, Any] = json.loads(path.read_text())["body"]
    return body


def typed(*texts: object, **fields: object) -> dict[str, object]:
    """A result as the editor makes it for a text typed in the prompt field."""
    result = {"from_name": "prompt", "to_name": "image", "type": "textarea"}
    return {**result, "value": {"text": list(texts)}, **fields}


def number(name: str, value: object) -> dict[str, object]:
    return {"from_name": name, "to_name": "image", "type": "number", "value": {"number": value}}


@pytest.mark.parametrize(
    ("capture", "asked"),
    [
        ("06", TypedPrompt("cats . house", Overrides())),
        ("06b", None),  # sent after Submit
        ("07", TypedPrompt("second prompt", Overrides())),  # two texts in one result
        ("07b", TypedPrompt("main prompt", Overrides())),  # two fields
        ("08", TypedPrompt("cats again", Overrides(box_threshold=0.6))),  # with other controls
        ("09", None),  # a box drawn with the smart tool
        ("09b", None),  # after Update
    ],
)
def test_captured_requests_are_understood(capture: str, asked: TypedPrompt | None) -> None:
    body = captured(capture)
    (target,) = read_label_config(body["label_config"]).images
    assert read_context(body["params"]["context"], target) == asked


def test_a_saved_annotation_holds_its_prompt() -> None:
    body = captured("06b")
    (target,) = read_label_config(body["label_config"]).images
    assert newest_prompt(body["tasks"][0]["annotations"][0]["result"], target) == "cats . house"


@pytest.mark.parametrize("capture", ["12", "13"])
def test_a_webhook_of_boxes_drawn_by_hand_holds_no_prompt(capture: str) -> None:
    body = captured(capture)
    (target,) = read_label_config(body["project"]["label_config"]).images
    assert newest_prompt(body["annotation"]["result"], target) is None


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"result": None},
        {"result": []},
        {"result": "cats"},
        {"result": {"text": ["cats"]}},
        {"result": [None, 7, "cats", [], {}]},
        {"result": [typed()]},
        {"result": [typed("")]},
        {"result": [typed(" \n")]},
        {"result": [typed("cats", " ")]},  # the newest is blank
        {"result": [typed("cats", from_name="notes")]},
        {"result": [typed("cats", to_name="other image")]},
        {"result": [typed("cats", value=None)]},
        {"result": [typed("cats", value="cats")]},
        {"result": [typed("cats", value={"text": None})]},
        {"result": [typed("cats", value={"text": [1, None, {}]})]},
        {"result": [number("box_threshold", 7)]},  # nobody asked, nobody is told
    ],
)
def test_a_context_without_a_prompt_asks_for_nothing(context: object) -> None:
    assert read_context(context, TARGET) is None


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([typed("cats\n")], "cats"),
        ([typed("cats", "dogs")], "dogs"),
        ([typed("cats"), typed("dogs")], "dogs"),
        ([typed("cats", value={"text": "cats"})], "cats"),
        ([typed("cats", to_name=None)], "cats"),
        ([{"from_name": "prompt", "value": {"text": ["cats"]}}], "cats"),
        ([None, typed("cats", 7), {"value": 3}], "cats"),
    ],
)
def test_the_newest_text_is_the_prompt(result: list[object], text: str) -> None:
    assert read_context({"result": result}, TARGET) == TypedPrompt(text, Overrides())


def test_a_config_without_a_prompt_field_is_never_prompted() -> None:
    target = ImageTarget("image", ImageValue("$image"), (BOX,), ())
    assert newest_prompt([typed("cats", from_name=None)], target) is None


@pytest.mark.parametrize(
    ("numbers", "overrides"),
    [
        ([number("box_threshold", 0), number("text_threshold", 1)], Overrides(0.0, 1.0)),
        ([number("box_threshold", 0.2), number("box_threshold", 0.3)], Overrides(0.3)),
        ([number("count", 7)], Overrides()),
        ([number("box_threshold", None)], Overrides()),
        ([number("box_threshold", "0.5")], Overrides()),
        ([number("box_threshold", True)], Overrides()),
        ([number("box_threshold", 9) | {"to_name": "other image"}], Overrides()),
    ],
)
def test_an_annotators_thresholds_come_along(numbers: list[object], overrides: Overrides) -> None:
    context = {"result": [*numbers, typed("cats")]}
    assert read_context(context, TARGET) == TypedPrompt("cats", overrides)


@pytest.mark.parametrize("value", [-0.1, 1.01, 45, float("nan"), float("inf"), 10**400])
def test_a_typed_threshold_that_is_no_fraction_is_refused(value: float) -> None:
    context = {"result": [typed("cats"), number("text_threshold", value)]}
    with pytest.raises(BadRequest, match=r"text_threshold is .*, but it must be a number"):
        read_context(context, TARGET)


@pytest.mark.parametrize("context", [None, "", "cats", [], [typed("cats")], 0, False])
def test_a_context_that_is_no_object_is_refused(context: object) -> None:
    with pytest.raises(BadRequest, match="object or null"):
        read_context(context, TARGET)


KEYS = ["result", "value", "text", "number", "from_name", "to_name"]
WORDS = ["prompt", "box_threshold", "image"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=30,
)


@given(ANYTHING | ANYTHING.map(lambda result: {"result": result}))
def test_any_context_is_understood_or_refused(context: object) -> None:
    try:
        asked = read_context(context, TARGET)
    except BadRequest:
        return
    if asked is not None:
        assert asked.text == asked.text.strip() != ""
