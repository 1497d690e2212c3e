"""The routes of those who watch over the service: is it alive, is it ready, what does it do."""

from flask import Blueprint, Response, jsonify

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
    """The routes; nothing that they return is stored."""
    routes = Blueprint("watching", __name__)

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
        state = service.backend.state.value
        text = metrics.exposition(_build(service), state, [one.value for one in BackendState])
        return Response(text, content_type=metrics.CONTENT_TYPE)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(document_json(service.settings.url_prefix), content_type="application/json")

    return routes


def _build(service: Service) -> dict[str, str]:
    """What runs here, as labels; those of the device are empty until the models are ready."""
    backend, device, runtime = service.backend, "", None
    if backend.state is BackendState.READY:
        device, runtime = backend.device, backend.runtime
    return {
        "version": __version__,
        "models": ", ".join(pair.name for pair in service.settings.offered.pairs),
        "device": device,
        "runtime": "" if runtime is None else runtime.name,
        "precision": "" if runtime is None else runtime.precision,
    }
