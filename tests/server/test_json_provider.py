"""JSON that is written already comes out as if it had been written with the rest."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from grounded_labeler.label_studio.json_text import JsonText
from grounded_labeler.server.json_provider import CopyingProvider


@pytest.fixture
def provider() -> CopyingProvider:
    return CopyingProvider(Flask(__name__))


ONE, OTHER = JsonText("[1,2,3]"), JsonText('{"a":null}')


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"b": ONE, "a": OTHER}, {"b": [1, 2, 3], "a": {"a": None}}, id="sorted keys"),
        pytest.param([ONE, OTHER, ONE], [[1, 2, 3], {"a": None}, [1, 2, 3]], id="in a list"),
        pytest.param(ONE, [1, 2, 3], id="alone"),
        pytest.param({"a": 'ü " \\ \ud800', "b": [ONE]}, {"a": 'ü " \\ \ud800', "b": [[1, 2, 3]]},
                     id="beside any text"),
        pytest.param({"a": [1.5, None]}, {"a": [1.5, None]}, id="nothing written"),
        pytest.param([], [], id="empty"),
    ],
)  # fmt: skip
def test_what_is_written_is_copied(provider: CopyingProvider, value: Any, expected: Any) -> None:
    assert json.loads(provider.dumps(value)) == expected


def test_it_stays_as_it_was_written(provider: CopyingProvider) -> None:
    assert provider.dumps({"a": JsonText("[1, 2]")}, separators=(",", ":")) == '{"a":[1, 2]}'


def test_other_values_are_written_as_by_flask(provider: CopyingProvider) -> None:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    assert json.loads(provider.dumps({"at": moment, "b": ONE})) == {
        "at": "Fri, 20 Nov 2026 00:00:00 GMT",
        "b": [1, 2, 3],
    }
    with pytest.raises(TypeError, match="not JSON serializable"):
        provider.dumps({"a": object()})
