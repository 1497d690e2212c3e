"""The routes of those who watch over the service: is it alive, is it ready, what does it do."""

from flask import Blueprint, Response, jsonify, request

from grounded_labeler import metrics
from grounded_labeler.__about__ import __version__
from grounded_labeler.errors import NotReady
from grounded_labeler.inference.backend import BackendState
from grounded_labeler.server.openapi import document_json
from grounded_labeler.server.responses import Health, Ready
from grounded_labeler.service import Service

# Orchestrators have no password.
OPEN_PATHS = ("/", "/health", "/ready")


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
        backend = service.backend
        state = backend.state
        body = Health(
            status="UP",
            models=state.value,
            version=__version__,
            model_class="GroundedLabeler",
            v2=True,
        )
        try:
            backend.check()
            if state is BackendState.FAILED:
                backend.wait_until_ready(0)
        except NotReady as error:
            body |= {"status": "DOWN", "error": str(error)}
            return jsonify(body), 503
        if state is BackendState.READY:
            body |= {"model": service.model_name, "device": backend.device}
            if (runtime := backend.runtime) is not None:
                body |= {"runtime": runtime.name, "precision": runtime.precision}
                body |= {"threads": runtime.threads}
            if others := backend.others_loaded:
                body |= {"others_loaded": list(others)}
            # Of models on a cluster, the files are not here.
            if service.settings.ray_address is None:
                body |= {"verified": service.verified}
        return jsonify(body), 200

    @routes.get("/ready")
    def ready() -> Response:
        """Ready for requests: the models are loaded and have run once, and are not stuck."""
        service.backend.wait_until_ready(0)
        service.backend.check()
        return jsonify(Ready(status="READY"))

    @routes.get("/metrics")
    def figures() -> Response:
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(document_json(service.settings.url_prefix), content_type="application/json")

    return routes
