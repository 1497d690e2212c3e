"""Backends on models that a test holds in its hands."""

from concurrent.futures import Future
from contextlib import suppress

from grounded_labeler.errors import NotReady
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.service import Service

_DEADLINE_S = 300.0


def loaded(pipeline: Pipeline, queue: InferenceQueue | None = None) -> LocalBackend:
    """A backend that is ready, behind `queue` or one of its own."""
    backend = LocalBackend(lambda: pipeline, queue or InferenceQueue(_DEADLINE_S))
    backend.wait_until_ready()
    return backend


def loading(pipeline: "Future[Pipeline]") -> LocalBackend:
    """A backend whose models are there when `pipeline` is done."""
    backend = LocalBackend(pipeline.result, InferenceQueue(_DEADLINE_S))
    if pipeline.done():
        with suppress(NotReady):
            backend.wait_until_ready()
    return backend


def local(service: Service) -> LocalBackend:
    """The backend of a service whose models run in this process."""
    assert isinstance(service.backend, LocalBackend)
    return service.backend
