"""Label Studio's interactive layer, in development after 1.23: events, clicks, one mask image.

Its editor sends an `event` or bare clicks and boxes in the `context`, reads the `value` of the
first result and, unlike the smart tools of all releases, shows errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from grounded_labeler.__about__ import __version__
from grounded_labeler.core.inference import Failure, InferenceResult, Outcome
from grounded_labeler.core.polygons import LeftOut
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.context import results_in
from grounded_labeler.label_studio.mask_image import white_on_black_url
from grounded_labeler.label_studio.prediction_builder import Prediction, PredictionBuilder, Result
from grounded_labeler.label_studio.queries import AnyQuery
from grounded_labeler.label_studio.regions import SCORE_DIGITS

CAPABILITIES, PREWARM, RELEASE = "capabilities", "prewarm", "release"

_TARGETS = (
    ("BitmaskLabels", "mask"),
    ("RectangleLabels", "bbox"),
    ("PolygonLabels", "polygon"),
    ("VectorLabels", "polygon"),
)


def event_of(context: object) -> str | None:
    """Return the event that a request's `params.context` is about, None if it is about none."""
    event = context.get("event") if isinstance(context, dict) else None
    return event if isinstance(event, str) else None


def is_of_layer(context: object) -> bool:
    """Whether the interactive layer sent it: results of smart tools name their tag."""
    shapes = results_in(context)
    return bool(shapes) and all(one.get("from_name") is None for one in shapes)


def capabilities(models: str) -> Result:
    """Return the result that says what can be drawn, and what the editor can make of a mask."""
    value: dict[str, Any] = {
        "prompts": ["point", "box"],
        "targets": [{"tag": tag, "output": output} for tag, output in _TARGETS],
        "model_info": {"name": models, "version": __version__},
    }
    return {"id": uuid4().hex, "type": "capabilities", "origin": "manual", "value": value}


@dataclass(frozen=True)
class MaskImageBuilder(PredictionBuilder):
    """Makes predictions of one mask, as an image; the editor makes a region of it."""

    def regions(
        self, query: AnyQuery, found: InferenceResult, left_out: list[LeftOut] | None = None
    ) -> list[Result]:
        """The mask as an image, of the one object that was drawn; none where nothing was found."""
        if not found.masks:
            return []
        height, width = found.size_hw
        url = white_on_black_url(found.masks[0])
        value = {"imageDataURL": url, "width": width, "height": height}
        score = round(float(found.detections.scores[0]), SCORE_DIGITS)
        return [{"id": uuid4().hex, "type": "bitmask", "score": score, "value": value}]

    def assemble(
        self,
        queries: Sequence[AnyQuery],
        found: Sequence[Outcome],
        regions: Sequence[list[Result]],
        left_out: Sequence[Sequence[LeftOut]] | None = None,
    ) -> Prediction:
        """Raises BadRequest with the reason where there is no result."""
        [outcome], [results] = found, regions
        if isinstance(outcome, Failure):
            raise BadRequest(outcome.reason)
        return self.with_results(results)
