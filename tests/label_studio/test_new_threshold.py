"""A new threshold sends the masks that are there; answers are the same, kept or not."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from grounded_labeler.core.types import PackedMask
from grounded_labeler.label_studio import region_values
from grounded_labeler.label_studio.backend import GroundedLabeler
from grounded_labeler.service import Service
from tests.conftest import client_of
from tests.helpers.asking import IMAGE, LABELS, PROMPT, body, predict, typed, view

WIDE = "/data/upload/1/wide.jpg"
TAGS = {
    "brush": "BrushLabels",
    "bitmask": "BitmaskLabels",
    "polygon": "PolygonLabels",
    "vector": "VectorLabels",
}
FORMS = ("encode_rle", "bitmask_url", "trace", "box_to_draw")


def config(form: str, threshold: float) -> str:
    attributes = f'name="shape" toName="image" model_score_threshold="{threshold}"'
    closable = ' closable="true"' if form == "vector" else ""
    boxes = f'<RectangleLabels name="box" toName="image" rotated="true">{LABELS}</RectangleLabels>'
    shapes = f"<{TAGS[form]} {attributes}{closable}>{LABELS}</{TAGS[form]}>"
    return view(PROMPT, IMAGE, boxes, shapes)


def shapes(predictions: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What was found, without what differs from request to request."""
    return [
        [
            {name: value for name, value in region.items() if name not in ("id", "meta")}
            for region in prediction["result"]
            if region["type"] != "textarea"
        ]
        for prediction in predictions
    ]


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service(OUTPUT="both")


@pytest.fixture
def client(service: Service) -> FlaskClient:
    return client_of(service)


@pytest.mark.parametrize("form", TAGS)
@pytest.mark.parametrize("context", [typed("circle . star . ring"), None], ids=["typed", "batch"])
def test_nothing_is_encoded_for_a_new_threshold(
    service: Service,
    client: FlaskClient,
    form: str,
    context: dict[str, Any] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = body([WIDE], context, config(form, 0.5))
    if context is None:
        assert predict(client, body([WIDE], typed("circle . star . ring"), config(form, 0.5)))
        request["label_config"] = config(form, 0.45)
    first = shapes(predict(client, request))
    assert {"box" in region["from_name"] for region in first[0]} == {True, False}
    labeler = GroundedLabeler.bound_to(service)("1.1795170150", request["label_config"])
    plain = labeler.predict(request["tasks"], request["params"]["context"])
    assert shapes(plain) == first, "who sends no JSON text has the same, as lists and numbers"
    calls: Counter[str] = Counter()

    def count(owner: object, name: str) -> None:
        own = getattr(owner, name)

        def counting(*args: Any) -> Any:
            calls[name] += 1
            return own(*args)

        monkeypatch.setattr(owner, name, counting)

    for name in FORMS:
        count(region_values, name)
    count(PackedMask, "pixels")
    request["label_config"] = config(form, 0.4)
    again = shapes(predict(client, request))
    assert again == first
    assert len(again[0]) >= 4
    assert not calls
