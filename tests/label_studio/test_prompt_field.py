"""Which TextArea is the prompt, what is remembered of it, and what its tag may set."""

import logging
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import MakeClient
from tests.helpers.asking import (
    CREATED,
    HAND_DRAWN,
    IMAGE,
    PROMPT,
    RECTANGLES,
    STATUS,
    TUTORIAL,
    ask,
    body,
    of_type,
    predict,
    status_of,
    typed,
    view,
)

WIDE, TALL = "/data/upload/1/wide.jpg", "/data/upload/1/tall.jpg"
NO_MASKS = {"SEGMENTER": "none"}
NOTES = '<TextArea name="notes" toName="image"/>'


def labels_found(client: FlaskClient, config: str = TUTORIAL, **request: Any) -> list[str]:
    """What is found in a task that is pre-annotated."""
    [prediction] = predict(client, body([TALL], None, config) | request)
    boxes = of_type(prediction.get("result", []), "rectanglelabels")
    return sorted({box["value"]["rectanglelabels"][0] for box in boxes})


def save(
    client: FlaskClient,
    *results: dict[str, Any],
    config: str = TUTORIAL,
    project: dict[str, Any] | None = None,
    **annotation: Any,
) -> None:
    """Label Studio's webhook when an annotation was saved."""
    event = {
        "action": "ANNOTATION_CREATED",
        "annotation": {"result": list(results), **annotation},
        "project": {"id": 1, "created_at": CREATED, **(project or {}), "label_config": config},
    }
    assert client.post("/webhook", json=event).status_code == 200


def from_field(name: str, text: str) -> dict[str, Any]:
    [entry] = typed(text)["result"]
    return dict(entry, from_name=name)


# A note is no prompt


@pytest.mark.parametrize(
    "notes",
    [
        NOTES,
        NOTES.replace("notes", "comment").replace("/>", ' rows="4" editable="true"/>'),
        NOTES.replace("notes", "Prompt"),  # names are what they are to the letter
        NOTES.replace("/>", ' model_prompt="false"/>'),
    ],
)
def test_a_note_is_asked_nowhere_and_written_nowhere(make_client: MakeClient, notes: str) -> None:
    client, config = make_client(**NO_MASKS), view(notes, STATUS, IMAGE, RECTANGLES)
    name = notes.split('"')[1]
    note = from_field(name, "red square")
    [prediction] = predict(client, body([WIDE], {"result": [note]}, config))
    assert of_type(prediction["result"], "rectanglelabels") == []
    assert status_of(prediction["result"]) == (
        f'Nothing typed into "{name}" is taken for a prompt: name the TextArea for prompts '
        '"prompt", or give it model_prompt="true" in the label config.'
    )
    save(client, note, HAND_DRAWN, config=config)
    [prediction] = predict(client, body([TALL], None, config))
    assert of_type(prediction["result"], "textarea") == []
    assert len(of_type(prediction["result"], "rectanglelabels")) == 5  # the labels


def test_a_note_beside_a_prompt_is_left_alone(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS, PREANNOTATE="last_prompt")
    config = view(NOTES, PROMPT, STATUS, IMAGE, RECTANGLES)
    note = from_field("notes", "green triangle")
    results = ask(client, WIDE, "unicorn", note, config=config)
    assert of_type(results, "rectanglelabels") == []
    [prediction] = predict(client, body([WIDE], {"result": [note]}, config))
    assert prediction["result"] == []
    save(client, note, HAND_DRAWN, config=config)
    assert labels_found(client, config) == []


def test_without_a_status_field_the_log_says_how_to_mark_it_once(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(**NO_MASKS)
    config = view(NOTES.replace("notes", "remarks"), IMAGE, RECTANGLES)
    for _ in range(3):
        context = {"result": [from_field("remarks", "blurry")]}
        [prediction] = predict(client, body([WIDE], context, config))
        assert prediction["result"] == []
    [line] = [record for record in caplog.records if "remarks" in record.getMessage()]
    assert line.levelno == logging.WARNING
    assert 'model_prompt="true"' in line.getMessage()


def test_a_marked_field_is_the_prompt(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS)
    marked = NOTES.replace("notes", "look for").replace("/>", ' model_prompt="true"/>')
    config = view(NOTES, marked, STATUS, IMAGE, RECTANGLES)
    context = {"result": [from_field("look for", "red circle")]}
    [prediction] = predict(client, body([WIDE], context, config))
    assert len(of_type(prediction["result"], "rectanglelabels")) == 1
    [prediction] = predict(client, body([TALL], None, config))
    fields = {one["from_name"]: one["value"] for one in of_type(prediction["result"], "textarea")}
    assert fields["look for"] == {"text": ["red circle"]}
    assert "notes" not in fields


# What is remembered


def test_a_prompt_that_found_nothing_is_not_remembered(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS)
    setup = {"project": "1.1795170150", "schema": TUTORIAL}
    version = client.post("/setup", json=setup).get_json()["model_version"]
    for text in ("unicorn", "-red circle", "red cirlce -> Star . unicorn", "red circle " * 200):
        results = ask(client, WIDE, text)
        assert of_type(results, "rectanglelabels") == [], text
        too_long = "tokens long and the model reads at most" in status_of(results)
        assert too_long == text.endswith(" ")
        assert client.post("/setup", json=setup).get_json()["model_version"] == version
    ask(client, WIDE, "red circle . unicorn")
    assert client.post("/setup", json=setup).get_json()["model_version"] != version


@pytest.mark.parametrize(
    ("results", "annotation", "learned"),
    [
        ([HAND_DRAWN], {}, True),
        ([HAND_DRAWN], {"was_cancelled": False}, True),
        ([], {}, False),
        ([from_field("status", "Found Circle: 1.")], {}, False),
        ([HAND_DRAWN | {"to_name": "another"}], {}, False),
        ([HAND_DRAWN], {"was_cancelled": True}, False),  # skipped
        (
            [HAND_DRAWN | {"value": {"points": [[1, 1], [9, 1], [9, 9]], "closed": True}}],
            {},
            True,
        ),
        ([HAND_DRAWN | {"value": {"format": "rle", "rle": [0, 1]}}], {}, True),
    ],
)
def test_a_saved_prompt_is_remembered_with_a_region(
    make_client: MakeClient, results: list[Any], annotation: dict[str, Any], learned: bool
) -> None:
    client = make_client(**NO_MASKS, PREANNOTATE="last_prompt")
    save(client, from_field("prompt", "green triangle"), *results, **annotation)
    assert labels_found(client) == (["Triangle"] if learned else [])


@pytest.mark.parametrize(
    ("project", "learned"),
    [
        ({}, True),
        ({"created_at": "2026-11-20T12:22:30.999999+02:00"}, True),  # as other time zones write it
        ({"created_at": "2026-11-20T10:22:31Z"}, False),  # project 1 of another Label Studio
        ({"created_at": None}, False),
        ({"created_at": "yesterday"}, False),
        ({"id": 2}, False),
    ],
)
def test_a_prompt_belongs_to_the_project_with_that_number_made_at_that_time(
    make_client: MakeClient, project: dict[str, Any], learned: bool
) -> None:
    client = make_client(**NO_MASKS, PREANNOTATE="last_prompt")
    save(client, from_field("prompt", "green triangle"), HAND_DRAWN, project=project)
    assert labels_found(client) == (["Triangle"] if learned else [])


def test_a_new_label_studio_does_not_get_the_old_ones_prompt(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS, PREANNOTATE="last_prompt")
    ask(client, TALL, "red square")
    assert labels_found(client) == ["Square"]
    assert labels_found(client, project="1.1795170151") == []
    assert labels_found(client, project="1") == []


def test_requests_that_name_no_time_share_what_they_typed(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS, PREANNOTATE="last_prompt")
    predict(client, body([TALL], typed("red square")) | {"project": "1"})
    assert labels_found(client, project="1") == ["Square"]
    assert labels_found(client) == []


# What the tag sets


@pytest.mark.parametrize("setting", ["labels", "off"])
@pytest.mark.parametrize(
    ("attribute", "found"),
    [
        ("auto", ["Square"]),
        ("last_prompt", ["Square"]),
        (" Last_Prompt ", ["Square"]),
        ("labels", ["Ring", "Square", "Star", "Triangle"]),
        ("off", []),
    ],
)
def test_a_project_says_itself_what_is_looked_for_without_a_prompt(
    make_client: MakeClient, setting: str, attribute: str, found: list[str]
) -> None:
    config = TUTORIAL.replace('name="prompt"', f'name="prompt" preannotate="{attribute}"')
    client = make_client(**NO_MASKS, PREANNOTATE=setting)
    ask(client, TALL, "red square", config=config)
    assert labels_found(client, config) == found


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ('preannotate="never"', "one of auto, last_prompt, labels, off"),
        ('model_prompt="maybe"', "true or false"),
    ],
)
def test_a_bad_value_is_one_sentence(client: FlaskClient, attribute: str, said: str) -> None:
    config = TUTORIAL.replace('name="prompt"', f'name="prompt" {attribute}')
    refusal = client.post("/setup", json={"project": "1.2", "schema": config})
    assert refusal.status_code == 400
    assert refusal.get_json()["error"] == (
        f'In the label config, <TextArea name="prompt"> has {attribute}, which must be {said}.'
    )


# What the status says


def test_a_task_asked_with_a_remembered_prompt_says_so(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS)
    ask(client, TALL, "red square . green star")
    [prediction] = predict(client, body([TALL]))
    assert status_of(prediction["result"]).startswith(
        'Asked with the remembered prompt "red square . green star". Found Square: 1. '
        'Nothing for "green star" (best 0.'
    )
    assert "more between" not in status_of(prediction["result"])


def test_a_task_asked_with_the_labels_has_no_status(make_client: MakeClient) -> None:
    [prediction] = predict(make_client(**NO_MASKS), body([TALL]))
    assert of_type(prediction["result"], "textarea") == []


def test_a_typed_prompt_that_ends_in_a_400_says_so_in_the_status(client: FlaskClient) -> None:
    request = body([WIDE], typed("circle"))
    request["tasks"][0]["data"] = {"photo": WIDE}
    [prediction] = predict(client, request)
    assert status_of(prediction["result"]).startswith('The label config shows "$image", but')
    without = request | {"label_config": view(PROMPT, IMAGE, RECTANGLES)}
    assert client.post("/predict", json=without).status_code == 400
    request["params"]["context"] = None
    assert client.post("/predict", json=request).status_code == 400


def test_a_config_that_cannot_be_drawn_on_says_so_in_the_status(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS)
    brush = '<BrushLabels name="b" toName="image"><Label value="Circle"/></BrushLabels>'
    config = view(PROMPT, STATUS, IMAGE, brush)
    assert "SEGMENTER=mobile-sam" in status_of(ask(client, WIDE, "circle", config=config))
    [prediction] = predict(client, body([WIDE], {"result": []}, config))
    assert prediction["result"] == []
    assert client.post("/predict", json=body([WIDE], None, config)).status_code == 400
    assert client.post("/setup", json={"project": "1.2", "schema": config}).status_code == 400


def test_a_context_that_is_no_object_is_a_400(client: FlaskClient) -> None:
    request = body([WIDE])
    request["params"]["context"] = "circle"
    assert client.post("/predict", json=request).status_code == 400
