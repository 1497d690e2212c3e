"""The routes Label Studio calls, as a Flask application factory."""

import hmac
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from grounded_labeler import metrics
from grounded_labeler.errors import BadRequest, GroundedLabelerError, NotReady, Unauthorized
from grounded_labeler.inference.backend import Cancelled, never_cancelled
from grounded_labeler.prompts.history import project_key
from grounded_labeler.server.disconnect import client_disconnected
from grounded_labeler.server.monitoring import OPEN_PATHS, watching_routes
from grounded_labeler.service import Service

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 10
_MAX_REASON_LENGTH = 300
_MAX_TEXT_LENGTH = 2000  # of what /setup says and is kept: host names, tokens

_UNHEARD = (
    "A webhook came without the user name and the password that are set here, and was answered"
    " without effect: in Label Studio, under Settings > Webhooks, add the header"
    ' "Authorization: Basic ..." to have the prompts of saved annotations remembered.'
)


class Labeler(Protocol):
    """What the routes ask of the model, made anew for each request."""

    @property
    def model_version(self) -> str: ...

    def predict(
        self,
        tasks: list[dict[str, Any]],
        context: Mapping[str, Any] | None = None,
        *,
        cancelled: Cancelled = never_cancelled,
    ) -> list[dict[str, Any]]: ...

    def learn_prompt(self, annotation: Mapping[str, Any]) -> None: ...


def create_app(labeler_class: Callable[[str, Any], Labeler], service: Service) -> Flask:
    """The application; it holds no state of its own.

    `labeler_class` makes a labeler from a project id and what should be a label config:
    `model.GroundedLabeler` bound to `service`.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body_bytes
    app.register_blueprint(watching_routes(service))
    app.extensions["grounded_labeler"] = service  # for gunicorn.conf.py, which sees the app only

    app.before_request(_door(service))

    @app.post("/setup")
    def setup() -> Response:
        body = _json_object()
        project = project_key(body.get("project"))
        version = labeler_class(project, body.get("schema")).model_version
        service.projects.set_origin(
            project, _text(body.get("hostname")), _text(body.get("access_token"))
        )
        service.projects.set_version(project, version)
        return jsonify({"model_version": version})

    @app.post("/predict")
    def predict() -> Response:
        body = _json_object()
        tasks = _tasks(body.get("tasks"), service.settings.max_tasks)
        params = body.get("params") or {}
        if not isinstance(params, dict):
            raise BadRequest("`params` must be an object.")
        labeler = labeler_class(project_key(body.get("project")), body.get("label_config"))
        cancelled = client_disconnected(request.environ.get("gunicorn.socket"))
        results = labeler.predict(tasks, context=params.get("context"), cancelled=cancelled)
        return jsonify({"results": results})

    @app.post("/webhook")
    def webhook() -> Response:
        body = _json_object()
        project, annotation = body.get("project"), body.get("annotation")
        # Other events (tasks, deletions, START_TRAINING) have nothing to learn from.
        if isinstance(annotation, dict) and isinstance(project, dict):
            config = project.get("label_config")
            if isinstance(config, str) and config.strip():
                key = project_key(project.get("id"), project.get("created_at"))
                labeler_class(key, config).learn_prompt(annotation)
        return jsonify({})

    @app.route("/versions", methods=["GET", "POST"])
    def versions() -> Response:
        return jsonify({"versions": service.versions()})

    @app.errorhandler(GroundedLabelerError)
    def known_error(error: GroundedLabelerError) -> Response:
        if request.path not in OPEN_PATHS:  # probes ask every few seconds how things are
            logger.warning("%s %s: %s", request.method, request.path, error)
            metrics.FAILURES.labels(error.cause).inc()
        answer = jsonify({"error": str(error)})
        answer.status = f"{error.status} {_one_line(str(error))}"
        if isinstance(error, NotReady):
            answer.headers["Retry-After"] = str(_RETRY_SECONDS)
        if isinstance(error, Unauthorized):
            answer.headers["WWW-Authenticate"] = 'Basic realm="grounded-labeler"'
        return answer

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        answer = jsonify({"error": error.description})
        answer.status_code = error.code or 500
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            answer.headers["Allow"] = ", ".join(error.valid_methods)
        return answer

    return app


def _door(service: Service) -> Callable[[], Response | None]:
    """What refuses those who do not give the user name and the password, if some are set."""
    said = threading.Lock()

    def refuse_strangers() -> Response | None:
        user, password = service.settings.basic_auth_user, service.password.get()
        if user is None or password is None or request.path in OPEN_PATHS:
            return None
        if _is_login(user, password):
            return None
        hook = (request.method, request.path) == ("POST", "/webhook")
        if hook and "Authorization" not in request.headers:
            # Label Studio gives its webhooks no login, and may switch off one that often fails.
            if said.acquire(blocking=False):  # once: it is never released
                logger.warning(_UNHEARD)
            return jsonify({})
        raise Unauthorized(
            "User name and password required: the values of BASIC_AUTH_USER and BASIC_AUTH_PASS "
            "of this service."
        )

    return refuse_strangers


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


def _tasks(tasks: object, most: int) -> list[dict[str, Any]]:
    if not isinstance(tasks, list):
        raise BadRequest("`tasks` must be a list of Label Studio tasks.")
    if not tasks:
        raise BadRequest("`tasks` is empty: send at least one task.")
    if len(tasks) > most:
        raise BadRequest(f"{len(tasks)} tasks are more than {most}, which MAX_TASKS sets.")
    if not all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in tasks):
        raise BadRequest("Every task must be an object with a `data` object.")
    return tasks


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT_LENGTH else None
