"""A request as Label Studio's editor sends it, to see whether there is an answer."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from grounded_labeler.label_studio.config_settings import STATUS
from grounded_labeler.label_studio.context import REMEMBER
from grounded_labeler.label_studio.schema import ImageTarget

DEMO, SAMPLE = "grounded_labeler.demo", "samples/wide.jpg"  # an image of coloured shapes


class Answer(NamedTuple):
    """How many regions there are, and what the status line says."""

    regions: int
    status: str


def typed(target: ImageTarget, text: str) -> dict[str, Any]:
    """The context of a prompt that is typed beside an image, to try it and no more.

    The project's remembered prompt is an annotator's, and stays.
    """
    entry = {
        "value": {"text": [text]}, "id": "connecting", "from_name": target.prompt_name,
        "to_name": target.name, "type": "textarea", "origin": "manual",
    }  # fmt: skip
    return {"result": [entry], REMEMBER: False}


def sample_task(target: ImageTarget) -> dict[str, Any]:
    """A task with a bundled image in it, which needs no fetching."""
    image = files(DEMO).joinpath(SAMPLE).read_bytes()
    url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    return {"id": 0, "data": {target.value.name: url}}


def read_answer(results: Sequence[Mapping[str, Any]]) -> Answer:
    """Count the regions among the results, and read the status line."""
    texts = [one for one in results if one.get("type") == "textarea"]
    lines = [
        line for one in texts if one.get("from_name") == STATUS for line in one["value"]["text"]
    ]
    return Answer(len(results) - len(texts), " ".join(map(str, lines)))
