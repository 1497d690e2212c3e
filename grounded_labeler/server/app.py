"""The routes Label Studio calls, as a Flask application factory."""

import hmac
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from flask import Flask, Response, jsonify, request

from grounded_labeler.errors import Unauthorized
from grounded_labeler.inference.backend import Cancelled, never_cancelled
from grounded_labeler.quality.training import OFF, Training
from grounded_labeler.request_context import note_project
from grounded_labeler.server.body import read_body
from grounded_labeler.server.disconnect import client_disconnected
from grounded_labeler.server.error_answers import answer_errors
from grounded_labeler.server.inspection import inspection_routes
from grounded_labeler.server.json_provider import CopyingProvider
from grounded_labeler.server.monitoring import OPEN_PATHS, watching_routes
from grounded_labeler.server.observation import observe_requests
from grounded_labeler.server.requests import PredictRequest, SetupRequest, Task, WebhookRequest
from grounded_labeler.server.responses import SetupResponse, Versions, WebhookResponse
from grounded_labeler.server.tuning import project_number, tuning_routes
from grounded_labeler.server.url_prefix import UnderPrefix
from grounded_labeler.service import Service

logger = logging.getLogger(__name__)

_START_TRAINING = "START_TRAINING"

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
        tasks: Sequence[Task],
        context: Mapping[str, Any] | None = None,
        *,
        cancelled: Cancelled = never_cancelled,
        with_json_text: bool = False,
    ) -> list[dict[str, Any]]: ...

    def learn_prompt(self, annotation: Mapping[str, Any]) -> None: ...


def create_app(labeler_class: Callable[[str, Any], Labeler], service: Service) -> Flask:
    """The application; it holds no state of its own.

    `labeler_class` makes a labeler from a project id and what should be a label config:
    `model.GroundedLabeler` bound to `service`.
    """
    app = Flask(__name__, static_folder=None)
    app.json = CopyingProvider(app)
    observe_requests(app)
    app.config["MAX_CONTENT_LENGTH"] = service.settings.max_body_bytes
    app.register_blueprint(watching_routes(service))
    app.register_blueprint(inspection_routes(service))
    training = Training(service)
    app.register_blueprint(tuning_routes(training))
    # For gunicorn.conf.py, which sees the app only.
    app.extensions |= {"grounded_labeler": service, "grounded_labeler_training": training}

    answer_errors(app)
    app.before_request(_door(service))
    if prefix := service.settings.url_prefix:
        app.wsgi_app = UnderPrefix(app.wsgi_app, prefix)  # type: ignore[assignment,method-assign]

    @app.post("/setup")
    def setup() -> Response:
        asked = read_body(SetupRequest)
        note_project(asked.project)
        version = labeler_class(asked.project, asked.label_config).model_version
        service.projects.set_origin(asked.project, asked.hostname, asked.access_token)
        service.projects.set_version(asked.project, version)
        return jsonify(SetupResponse(model_version=version))

    @app.post("/predict")
    def predict() -> Response:
        asked = read_body(PredictRequest, max_tasks=service.settings.max_tasks)
        note_project(asked.project)
        labeler = labeler_class(asked.project, asked.label_config)
        cancelled = client_disconnected(request.environ.get("gunicorn.socket"))
        context = None if asked.params is None else asked.params.context
        results = labeler.predict(
            asked.tasks, context=context, cancelled=cancelled, with_json_text=True
        )
        return jsonify({"results": results})

    @app.post("/webhook")
    def webhook() -> Response:
        event = read_body(WebhookRequest)
        project, annotation = event.project, event.annotation
        note_project("" if project is None else project.key)
        if event.action == _START_TRAINING and project is not None:
            return jsonify(_start(training, project.id))
        # Other events (tasks, deletions) have nothing to learn from.
        if annotation is not None and project is not None and project.label_config is not None:
            labeler_class(project.key, project.label_config).learn_prompt(annotation)
        return jsonify(WebhookResponse())

    @app.route("/versions", methods=["GET", "POST"])
    def versions() -> Response:
        return jsonify(Versions(versions=service.versions()))

    return app


def _start(training: Training, project: object) -> WebhookResponse:
    """Have a project tuned in the background; Label Studio keeps the job's name."""
    if not training.is_on:
        return WebhookResponse(message=OFF)
    state = training.start(project_number(project))
    return WebhookResponse(
        job=state.job, message=f"See {request.script_root}/tune/{state.project} of this service."
    )


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


def _is_login(user: str, password: str) -> bool:
    """Whether the request carries this login; takes as long whatever differs."""
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    pairs = ((given.username, user), (given.password, password))
    same = [hmac.compare_digest((a or "").encode(), b.encode()) for a, b in pairs]
    return all(same)
