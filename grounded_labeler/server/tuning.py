"""Where people see how far Start Training is, and what came of it."""

from functools import cache
from typing import Final

from flask import Blueprint, Response, jsonify, request
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from grounded_labeler.__about__ import __version__
from grounded_labeler.errors import BadRequest, GroundedLabelerError
from grounded_labeler.quality.training import Training
from grounded_labeler.quality.training_state import State, TrainingState

_MAX_DIGITS = 12
_HTML, _JSON = "text/html", "application/json"
_REFRESH_S = 3
# As the page's own words are: it loads nothing and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"

_HEADLINES: Final[dict[State, str]] = {
    "running": "The project is being tuned. This page shows how far it is by itself.",
    "proposed": "There is a better label config: copy it from below into the project.",
    "applied": "A better label config is in the project now.",
    "unchanged": "Nothing is better than what there is: the label config stays as it is.",
    "failed": "The tuning failed.",
    "ended": "The tuning ended before it was done.",
}


class NothingTuned(GroundedLabelerError):
    """Nobody ever pressed Start Training for the project."""

    status = 404
    cause = "not_found"


def tuning_routes(training: Training) -> Blueprint:
    """The route `/tune/<project>`: JSON, and a page for browsers."""
    routes = Blueprint("tuning", __name__)

    @routes.get("/tune/<project>")
    def tuning(project: str) -> Response:
        state = training.read(project_number(project))
        if state is None:
            raise NothingTuned(
                f"Project {project} was never tuned: press Start Training on its Model page in "
                "Label Studio."
            )
        if request.accept_mimetypes.best_match([_JSON, _HTML]) != _HTML:
            return jsonify(state.model_dump(mode="json"))
        response = Response(_page(state), content_type=f"{_HTML}; charset=utf-8")
        response.headers["Content-Security-Policy"] = _POLICY
        if state.is_running:
            response.headers["Refresh"] = str(_REFRESH_S)
        return response

    return routes


def project_number(text: object) -> int:
    """Return the number of a project; raises BadRequest for what is none."""
    digits = str(text)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS):
        raise BadRequest("The project must be its number in Label Studio, as in /tune/7.")
    return int(digits)


def _page(state: TrainingState) -> str:
    models = None
    if state.figures is not None:
        every = state.figures["models"]
        models = next(one for one in every if one["name"] == state.figures["best"])
    return (
        _environment()
        .get_template("tuning.html")
        .render(
            state=state,
            models=models,
            headline=_HEADLINES[state.state],
            program_version=__version__,
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("grounded_labeler.server"),
                PackageLoader("grounded_labeler.quality.report"),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
