"""Thresholds that annotators type into the prompt, through the routes that Label Studio calls."""

from typing import Any

import pytest

from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import read_label_config
from tests.conftest import MakeClient
from tests.helpers.asking import (
    CREATED,
    HAND_DRAWN,
    IMAGE,
    PROMPT,
    RECTANGLES,
    STATUS,
    ask,
    body,
    number,
    of_type,
    predict,
    status_of,
    typed,
    view,
)

WIDE = "/data/upload/1/wide.jpg"
PLAIN = view(PROMPT, STATUS, IMAGE, RECTANGLES)


def found(results: list[dict[str, Any]]) -> list[str]:
    boxes = of_type(results, "rectanglelabels")
    return [label for box in boxes for label in box["value"]["rectanglelabels"]]


def test_it_holds_whatever_else_is_set(make_client: MakeClient) -> None:
    strict = PLAIN.replace("<RectangleLabels ", '<RectangleLabels model_score_threshold="0.999" ')
    strict = strict.replace('value="Star"', 'value="Star" score_threshold="0.999"')
    client = make_client(BOX_THRESHOLD="0.999")
    strictest = number("box_threshold", 0.999)
    prompt = "red circle > 0.3 . star > 30%"
    shown = found(ask(client, WIDE, prompt, strictest, config=strict))
    assert sorted(shown) == ["Circle", "Star", "Star"]
    assert not found(ask(client, WIDE, "red circle . star", strictest, config=strict))
    loose = number("box_threshold", 0.1)
    nothing = ask(client, WIDE, "red circle > 0.999", loose, config=strict)
    assert not found(nothing)
    assert "the box threshold is 0.999." in status_of(nothing)


def test_the_status_says_which_threshold_held_for_which_phrase(make_client: MakeClient) -> None:
    said = status_of(ask(make_client(), WIDE, "red circle > 0.9 . unicorn", config=PLAIN))
    assert 'Nothing found for "red circle" (best 0.8' in said
    assert ', box threshold 0.9), "unicorn" (best 0.' in said
    assert "box threshold 0.3)." in said
    assert '1 more of "red circle" between 0.80 and 0.90.' in said


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("red circle > 2", 'In "red circle > 2", a box threshold from 0 to 1 must follow ">", as'),
        ("Shapes > Star", 'In "Shapes > Star", a box threshold from 0 to 1 must follow ">", as'),
    ],
)
def test_what_is_no_threshold_is_said_in_the_status_field(
    make_client: MakeClient, prompt: str, said: str
) -> None:
    results = ask(make_client(), WIDE, prompt, config=PLAIN)
    assert status_of(results).startswith(said)
    assert not found(results)


def test_a_label_may_hold_the_sign(make_client: MakeClient) -> None:
    named = PLAIN.replace('value="Star"', 'value="Shapes > Star"')
    results = ask(make_client(), WIDE, "star -> Shapes > Star > 0.3", config=named)
    assert found(results) == ["Shapes > Star"] * 2


def test_a_label_that_a_task_brings_may_hold_the_sign(make_client: MakeClient) -> None:
    listed = view(
        PROMPT, STATUS, IMAGE, '<RectangleLabels name="label" toName="image" value="$own"/>'
    )
    request = body([WIDE], typed("Shapes > Star"), listed)
    request["tasks"][0]["data"]["own"] = [{"value": "Shapes > Star", "prompt": "star > 0.3"}]
    [prediction] = predict(make_client(), request)
    assert "must follow" not in status_of(prediction["result"])
    other = body([WIDE], typed("Shapes > Star"), listed)
    other["tasks"][0]["data"]["own"] = [{"value": "Star"}]
    [prediction] = predict(make_client(), other)
    assert "must follow" in status_of(prediction["result"])


def test_the_prompt_of_a_label_may_have_one(make_client: MakeClient) -> None:
    def of_labels(threshold: str) -> list[str]:
        own = f'<Label value="Star" prompt="star &gt; {threshold}"/>'
        config = view(
            IMAGE, f'<RectangleLabels name="label" toName="image">{own}</RectangleLabels>'
        )
        [prediction] = predict(make_client(PREANNOTATE="labels"), body([WIDE], None, config))
        return found(prediction["result"])

    assert of_labels("0.3") == ["Star", "Star"]
    assert of_labels("0.999") == []


def test_a_label_config_with_a_prompt_that_cannot_be_read_is_refused() -> None:
    config = PLAIN.replace('value="Star"', 'value="Star" prompt="star &gt; 3"')
    with pytest.raises(BadRequest) as error:
        read_label_config(config)
    assert str(error.value) == (
        'In the label config: The prompt of the label "Star" cannot be read. In "star > 3", a box '
        'threshold from 0 to 1 must follow ">", as in "red car > 0.2".'
    )


def learn(client: Any, prompt: str, config: str) -> None:
    result = [*typed(prompt)["result"], HAND_DRAWN]
    project = {"id": 1, "created_at": CREATED, "label_config": config}
    event = {"annotation": {"result": result}, "project": project}
    assert client.post("/webhook", json=event).status_code == 200


def test_it_is_remembered_with_the_prompt(make_client: MakeClient) -> None:
    client = make_client(PREANNOTATE="last_prompt")
    learn(client, "red circle > 0.999 . star > .3", PLAIN)
    [prediction] = predict(client, body([WIDE], None, PLAIN))
    assert found(prediction["result"]) == ["Star", "Star"]


def test_a_prompt_that_cannot_be_read_is_not_remembered(make_client: MakeClient) -> None:
    client = make_client(PREANNOTATE="last_prompt")
    learn(client, "star", PLAIN)
    learn(client, "star > 3", PLAIN)
    [prediction] = predict(client, body([WIDE], None, PLAIN))
    assert found(prediction["result"]) == ["Star", "Star"]


def test_a_remembered_prompt_of_a_label_that_is_gone_stops_nothing(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    named = PLAIN.replace('value="Star"', 'value="Shapes > Star"')
    client = make_client(PREANNOTATE="auto")
    learn(client, "Shapes > Star", named)
    setup = {"project": "1.1795170150", "schema": PLAIN, "hostname": "", "access_token": ""}
    assert client.post("/setup", json=setup).status_code == 200
    [prediction] = predict(client, body([WIDE], None, PLAIN))
    assert set(found(prediction["result"])) >= {"Circle", "Star"}
    assert "A remembered prompt cannot be used: In" in caplog.text


def test_a_prompt_that_only_gains_a_blank_asks_again(make_client: MakeClient) -> None:
    client = make_client()
    first = ask(client, WIDE, "red circle", config=PLAIN)
    for prompt in ("red circle ", " red circle", "red  circle", "red circle\n"):
        again = ask(client, WIDE, prompt, config=PLAIN)
        assert found(again) == found(first) == ["Circle"]
        assert status_of(again).startswith("Found Circle: 1")


def test_it_is_in_the_model_version(make_client: MakeClient) -> None:
    def version(threshold: str) -> str:
        client = make_client(PREANNOTATE="last_prompt")
        learn(client, f"star {threshold}", PLAIN)
        [prediction] = predict(client, body([WIDE], None, PLAIN))
        return str(prediction["model_version"])

    assert version("> 0.3") != version("> 0.31")
