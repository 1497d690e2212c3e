"""The routes of those who watch over the service: is it alive, is it ready, what does it do."""

from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify, request

from grounded_labeler import metrics
from grounded_labeler.__about__ import __version__
from grounded_labeler.errors import NotReady
from grounded_labeler.inference.backend import BackendState
from grounded_labeler.service import Service

# Orchestrators have no password.
OPEN_PATHS = ("/", "/health", "/ready")

_OPENAPI = Path(__file__).with_name("openapi.json")


def watching_routes(service: Service) -> Blueprint:
    """The routes, and a count of every request to the application they are part of."""
    routes = Blueprint("watching", __name__)

    @routes.after_app_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "other"
        metrics.REQUESTS.labels(route, response.status_code).inc()
        return response

    @routes.get("/")
    @routes.get("/health")
    def health() -> tuple[Response, int]:
        """Alive: 503 only where a restart is the way out. Label Studio asks this, too."""
        body: dict[str, Any] = {
            "model_class": "GroundedLabeler",
            "v2": True,
            "version": __version__,
        }
        backend = service.backend
        state = backend.state
        body |= {"models": state}
        try:
            backend.check()
            if state is BackendState.FAILED:
                backend.wait_until_ready(0)
        except NotReady as error:
            return jsonify(body | {"status": "DOWN", "error": str(error)}), 503
        body |= {"status": "UP"}
        if state is BackendState.READY:
            body |= {"model": service.model_name, "device": backend.device}
            if (runtime := backend.runtime) is not None:
                body |= {"runtime": runtime.name, "precision": runtime.precision}
                body |= {"threads": runtime.threads}
        return jsonify(body), 200

    @routes.get("/ready")
    def ready() -> Response:
        """Ready for requests: the models are loaded and have run once, and are not stuck."""
        service.backend.wait_until_ready(0)
        service.backend.check()
        return jsonify({"status": "READY"})

    @routes.get("/metrics")
    def figures() -> Response:
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(_OPENAPI.read_bytes(), content_type="application/json")

    return routes
