"""Labels that tasks bring in their data, as the editor reads them."""

from typing import Any

import pytest

from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.queries import Query, default_queries
from grounded_labeler.label_studio.schema import ImageTarget, TaskLabels
from grounded_labeler.label_studio.task_labels import with_task_labels
from grounded_labeler.label_studio.versions import version_of
from grounded_labeler.settings import Settings
from tests.conftest import MakeClient
from tests.helpers.asking import IMAGE, LABELS, PROMPT, STATUS, body, predict, typed, view
from tests.helpers.models import DEFAULT

LISTED = '<RectangleLabels name="label" toName="image" value="$brands"/>'
CONFIG = view(PROMPT, STATUS, IMAGE, LISTED)


def target(*tags: str) -> ImageTarget:
    [image] = read_label_config(view(PROMPT, IMAGE, *tags)).images
    return image


def labels(tag: str, **data: object) -> list[tuple[str, tuple[str, ...], str | None]]:
    found = with_task_labels(target(tag), data).labels
    return [(label.value, label.predicted_values, label.prompt) for label in found]


@pytest.mark.parametrize(
    "tag",
    [
        LISTED,
        '<BrushLabels name="label" toName="image" value="$brands"></BrushLabels>',
        '<PolygonLabels name="label" toName="image" value="$brands"/>',
        '<Labels name="l" toName="image" value="$brands"/><Rectangle name="r" toName="image"/>',
        '<RectangleLabels name="label" toName="image" VALUE="$brands"/>',
    ],
)
def test_a_list_of_labels(tag: str) -> None:
    brands = [
        {"value": "Big brand"},
        {"value": "Other", "background": "orange", "predicted_values": "another, else"},
        {"value": "Green brand", "alias": "Eco", "showalias": True},
        {"value": "Prompted", "prompt": "a thing"},
        "A text",
    ]
    assert labels(tag, brands=brands) == [
        ("Big brand", (), None),
        ("Other", ("another", "else"), None),
        ("Eco", ("Green brand",), "Green brand"),
        ("Prompted", (), "a thing"),
        ("A text", (), None),
    ]


def test_labels_of_a_task_may_have_thresholds() -> None:
    brands = [
        {"value": "A", "score_threshold": 0.4},
        {"value": "B", "score_threshold": "0"},
        {"value": "C", "score_threshold": ""},
    ]
    found = with_task_labels(target(LISTED), {"brands": brands}).labels
    assert [label.score_threshold for label in found] == [0.4, 0.0, None]
    for wrong in (1.5, "high", [0.4], True):
        data = {"brands": [{"value": "A", "score_threshold": wrong}]}
        with pytest.raises(PromptError, match=r"must be a number from 0 to 1"):
            with_task_labels(target(LISTED), data)


def test_labels_of_the_config_come_first_and_each_value_once() -> None:
    tag = LISTED.replace("/>", '><Label value="Cat" prompt="a cat"/></RectangleLabels>')
    brands = [{"value": "Dog"}, {"value": "Cat", "predicted_values": "tabby"}, {"value": "Dog"}]
    assert labels(tag, brands=brands) == [("Cat", ("tabby",), "a cat"), ("Dog", (), None)]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("$meta.brands", {"meta": {"brands": [{"value": "Cat"}]}}),
        ("$lists[1]", {"lists": [[], [{"value": "Cat"}]]}),
        ("$lists[1].of", {"lists": [0, {"of": ["Cat"]}]}),
    ],
)
def test_a_path_into_the_data(value: str, data: dict[str, object]) -> None:
    assert labels(LISTED.replace("$brands", value), **data) == [("Cat", (), None)]


@pytest.mark.parametrize(
    "brands",
    [
        None,
        "Cat, Dog",
        {"value": "Cat"},
        5,
        [],
        [None, 5, [], {}, {"value": 5}, {"value": " "}, ""],
    ],
)
def test_what_is_no_list_of_labels_is_none(brands: object) -> None:
    assert labels(LISTED, brands=brands) == []
    assert labels(LISTED) == []


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        # As the editor saves them: the alias, or what stands in the config.
        ('<Label value="$brand"/>', ("$brand", ("Acme",), "Acme")),
        ('<Label value="$brand" alias="B"/>', ("B", ("Acme",), "Acme")),
        (
            '<Label value="$brand" predicted_values="x" prompt="a shop"/>',
            ("$brand", ("Acme", "x"), "a shop"),
        ),
    ],
)
def test_one_label_whose_name_is_in_the_data(
    tag: str, expected: tuple[str, tuple[str, ...], str]
) -> None:
    config = f'<RectangleLabels name="label" toName="image">{tag}</RectangleLabels>'
    assert labels(config, brand="Acme") == [expected]
    for other in (None, "", 5, ["Acme"]):
        assert labels(config, brand=other) == []


def test_a_config_without_such_labels_is_as_it_is() -> None:
    tag = f'<RectangleLabels name="label" toName="image">{LABELS}</RectangleLabels>'
    image = target(tag)
    assert not image.has_task_labels
    assert with_task_labels(image, {"brands": ["Cat"]}) is image


def test_too_many_are_refused() -> None:
    with pytest.raises(PromptError, match="more than 5,000 labels of its own"):
        labels(LISTED, brands=["x"] * 5001)


# Questions


def standing(remembered: str | None = None, **environ: str) -> list[Query]:
    config, settings = read_label_config(CONFIG), Settings.from_env(environ)
    return default_queries(config, settings, DEFAULT, lambda _: remembered)


def test_each_task_is_asked_for_its_own_labels() -> None:
    [query] = standing()
    for names in (["Cat"], ["Dog", "Red car"]):
        own = query.of_task({"brands": [{"value": name} for name in names]})
        assert [phrase.text for phrase in own.prompt.phrases] == names
        assert [label.value for label in own.target.labels] == names
        assert own.target.controls[0].labels == own.target.labels


def test_a_prompt_is_read_with_the_labels_of_the_task() -> None:
    [query] = standing("tabby -> cat")
    own = query.of_task({"brands": ["Cat"]})
    assert [(phrase.text, phrase.label) for phrase in own.prompt.phrases] == [("tabby", "Cat")]


def test_a_task_without_labels_and_prompt_says_so() -> None:
    [query] = standing()
    with pytest.raises(PromptError, match='no labels to look for: its data has none under "brand'):
        query.of_task({})


def test_the_version_says_where_labels_are_and_not_what_they_are() -> None:
    settings = Settings.from_env({})
    [query] = standing()
    assert query.target.controls[0].task_labels == (TaskLabels("brands"),)
    elsewhere = read_label_config(CONFIG.replace("$brands", "$others"))
    others = default_queries(elsewhere, settings, DEFAULT, lambda _: None)
    assert version_of(settings, DEFAULT, [query]) != version_of(settings, DEFAULT, others)
    tag = LISTED.replace(' value="$brands"/>', '><Label value="$x"/></RectangleLabels>')
    assert target(tag).controls[0].task_labels == (TaskLabels("x", Label("$x")),)


# The whole way


def tasks_with(*lists: object) -> dict[str, Any]:
    request = body(["/data/upload/1/wide.jpg"] * len(lists), None, CONFIG)
    for task, brands in zip(request["tasks"], lists, strict=True):
        task["data"]["brands"] = brands
    return request


def names(prediction: dict[str, Any]) -> set[str]:
    return {
        name
        for result in prediction["result"]
        for name in result["value"].get("rectanglelabels", ())
    }


def test_predictions_carry_each_task_s_own_labels(make_client: MakeClient) -> None:
    client = make_client(SEGMENTER="none")
    request = tasks_with(
        [{"value": "Circle"}], [{"value": "Ronde", "prompt": "circle"}, {"value": "Star"}], []
    )
    response = client.post("/predict", json=request)
    first, second, none = response.get_json()["results"]
    assert names(first) == {"Circle"}
    assert names(second) == {"Ronde", "Star"}
    assert "result" not in none
    assert "This task has no labels to look for" in none["error"]
    setup = client.post("/setup", json={"project": "1.2", "schema": CONFIG}).get_json()
    assert {one["model_version"] for one in (first, second, none)} == {setup["model_version"]}


def test_labels_of_one_task_that_cannot_be_asked_take_no_other_with_them(
    make_client: MakeClient,
) -> None:
    client = make_client(SEGMENTER="none")
    endless = [{"value": "word " * 2000}]
    many = [{"value": f"label {number}"} for number in range(1501)]
    response = client.post("/predict", json=tasks_with([{"value": "Circle"}], endless, many))
    first, second, third = response.get_json()["results"]
    assert names(first) == {"Circle"}
    assert "tokens long" in second["error"]
    assert "1,501 phrases" in third["error"]


def test_a_typed_prompt_gets_the_labels_of_the_task(make_client: MakeClient) -> None:
    request = tasks_with([{"value": "Circle"}])
    request["params"]["context"] = typed("red circle . star")
    [prediction] = predict(make_client(SEGMENTER="none"), request)
    assert names(prediction) == {"Circle"}
