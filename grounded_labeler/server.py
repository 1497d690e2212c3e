"""The routes Label Studio calls, as a Flask application factory."""

import hmac
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from grounded_labeler.errors import BadRequest, GroundedLabelerError, NotReady, Unauthorized
from grounded_labeler.service import Service

logger = logging.getLogger(__name__)

# A task carries its annotations, and these their masks.
_MAX_BODY_BYTES = 64 * 1024 * 1024
_RETRY_SECONDS = 10
_MAX_REASON_LENGTH = 300
# Whoever watches over the service has no password.
_OPEN_PATHS = ("/", "/health")


class Labeler(Protocol):
    """What the routes ask of the model, made anew for each request."""

    @property
    def model_version(self) -> str: ...

    def predict(
        self, tasks: list[dict[str, Any]], context: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]: ...

    def learn_prompt(self, annotation: Mapping[str, Any]) -> None: ...


def create_app(labeler_class: Callable[[str, Any], Labeler], service: Service) -> Flask:
    """The application; it holds no state of its own.

    `labeler_class` makes a labeler from a project id and what should be a label config:
    `model.GroundedLabeler` bound to `service`.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES

    @app.before_request
    def refuse_strangers() -> None:
        user, password = service.settings.basic_auth_user, service.settings.basic_auth_pass
        if user is None or password is None or request.path in _OPEN_PATHS:
            return
        if not _is_login(user, password.get_secret_value()):
            raise Unauthorized("A user name and a password are needed: those set here.")

    @app.get("/")
    @app.get("/health")
    def health() -> tuple[Response, int]:
        body: dict[str, Any] = {"model_class": "GroundedLabeler", "v2": True}
        loading = service.pipeline
        if not loading.done():
            return jsonify(body | {"status": "UP", "models": "loading"}), 200
        error = loading.exception()
        if error is not None:
            return jsonify(body | {"status": "DOWN", "models": "failed", "error": str(error)}), 503
        ready = {"models": "ready", "model": service.model_name, "device": loading.result().device}
        return jsonify(body | {"status": "UP"} | ready), 200

    @app.post("/setup")
    def setup() -> Response:
        body = _json_object()
        project = _project_id(body.get("project"))
        version = labeler_class(project, body.get("schema")).model_version
        service.remember_project(
            project, _text(body.get("hostname")), _text(body.get("access_token"))
        )
        service.remember_version(project, version)
        return jsonify({"model_version": version})

    @app.post("/predict")
    def predict() -> Response:
        body = _json_object()
        tasks = _tasks(body.get("tasks"))
        params = body.get("params") or {}
        if not isinstance(params, dict):
            raise BadRequest("`params` must be an object.")
        labeler = labeler_class(_project_id(body.get("project")), body.get("label_config"))
        return jsonify({"results": labeler.predict(tasks, context=params.get("context"))})

    @app.post("/webhook")
    def webhook() -> Response:
        body = _json_object()
        project, annotation = body.get("project"), body.get("annotation")
        # Other events (tasks, deletions, START_TRAINING) have nothing to learn from.
        if isinstance(annotation, dict) and isinstance(project, dict):
            config = project.get("label_config")
            if isinstance(config, str) and config.strip():
                labeler_class(_project_id(project.get("id")), config).learn_prompt(annotation)
        return jsonify({})

    @app.route("/versions", methods=["GET", "POST"])
    def versions() -> Response:
        return jsonify({"versions": service.versions()})

    @app.errorhandler(GroundedLabelerError)
    def known_error(error: GroundedLabelerError) -> Response:
        logger.warning("%s %s: %s", request.method, request.path, error)
        answer = jsonify({"error": str(error)})
        answer.status = f"{error.status} {_one_line(str(error))}"
        if isinstance(error, NotReady):
            answer.headers["Retry-After"] = str(_RETRY_SECONDS)
        if isinstance(error, Unauthorized):
            answer.headers["WWW-Authenticate"] = 'Basic realm="grounded-labeler"'
        return answer

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify({"error": error.description}), error.code or 500

    return app


def _one_line(message: str) -> str:
    """`message` as an HTTP reason phrase: of an error, Label Studio shows nothing else."""
    words = message.encode("ascii", "replace").decode().split()
    printable = "".join(char for char in " ".join(words) if char.isprintable())
    return printable[:_MAX_REASON_LENGTH]


def _is_login(user: str, password: str) -> bool:
    """Whether the request carries this login; takes as long whatever differs."""
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    pairs = ((given.username, user), (given.password, password))
    same = [hmac.compare_digest((a or "").encode(), b.encode()) for a, b in pairs]
    return all(same)


def _json_object() -> dict[str, Any]:
    try:
        body = request.get_json(force=True, silent=True)
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.") from None
    if not isinstance(body, dict):
        raise BadRequest("The request body must be a JSON object.")
    return body


def _tasks(tasks: object) -> list[dict[str, Any]]:
    if not isinstance(tasks, list):
        raise BadRequest("`tasks` must be a list of Label Studio tasks.")
    if not tasks:
        raise BadRequest("`tasks` is empty: send at least one task.")
    if not all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in tasks):
        raise BadRequest("Every task must be an object with a `data` object.")
    return tasks


def _project_id(value: object) -> str:
    """Label Studio writes "1.1795170150" (id and creation time) in requests, 1 in webhooks."""
    return str(value or "").split(".", 1)[0]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
