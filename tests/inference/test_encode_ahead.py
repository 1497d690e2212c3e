"""Images are encoded ahead: the last of each project, and nobody waits for it."""

import threading

import numpy as np
import pytest

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import ImageError, NotReady
from grounded_labeler.inference.backend import Cancelled
from grounded_labeler.inference.encode_ahead import EncodeAhead, LoadImage
from tests.helpers.models_thread import WAIT_S
from tests.helpers.serving import wait_until


class Backend:
    """Encodes when it may, and notes what was cancelled by then."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun: list[str] = []
        self.done: dict[str, bool] = {}

    def encode(self, image: DecodedImage, cancelled: Cancelled) -> None:
        self.begun.append(image.key)
        assert self.go_on.wait(WAIT_S)
        self.done[image.key] = cancelled()
        if image.key == "broken":
            raise RuntimeError("a fault of the models")
        if image.key == "busy":
            raise NotReady("busy")


class Ahead:
    """What encodes ahead, on one backend."""

    def __init__(self, backend: Backend) -> None:
        self._ahead, self._backend = EncodeAhead(), backend
        self.cancel = self._ahead.cancel

    def begin(self, project: str, load: LoadImage) -> None:
        self._ahead.begin(project, load, self._backend)  # type: ignore[arg-type]


def image(key: str) -> DecodedImage:
    return DecodedImage(np.zeros((1, 1, 3), np.uint8), key)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def ahead(backend: Backend) -> Ahead:
    return Ahead(backend)


def test_the_image_last_opened_takes_the_place_of_those_before(
    backend: Backend, ahead: Ahead
) -> None:
    ahead.begin("1", lambda: image("a"))
    wait_until(lambda: backend.begun == ["a"])
    for key in "bcd":
        ahead.begin("1", lambda key=key: image(key))  # type: ignore[misc]
    ahead.begin("2", lambda: image("of another"))
    backend.go_on.set()
    wait_until(lambda: backend.done == {"a": True, "of another": False, "d": False})


def test_who_leaves_needs_no_image(backend: Backend, ahead: Ahead) -> None:
    ahead.begin("1", lambda: image("a"))
    wait_until(lambda: backend.begun == ["a"])
    ahead.begin("2", lambda: image("b"))
    ahead.cancel("1")
    ahead.cancel("2")
    ahead.cancel("never seen")
    ahead.begin("3", lambda: image("c"))
    backend.go_on.set()
    wait_until(lambda: backend.done == {"a": True, "c": False})


def test_no_more_wait_than_can_be_of_use(backend: Backend, ahead: Ahead) -> None:
    ahead.begin("first", lambda: image("first"))
    wait_until(lambda: backend.begun == ["first"])
    for number in range(40):
        ahead.begin(str(number), lambda key=str(number): image(key))  # type: ignore[misc]
    backend.go_on.set()
    ahead.begin("last", lambda: image("last"))
    wait_until(lambda: "25" in backend.done)
    assert "1" not in backend.done


def test_what_fails_takes_nothing_with_it(
    backend: Backend, ahead: Ahead, caplog: pytest.LogCaptureFixture
) -> None:
    def gone() -> DecodedImage:
        raise ImageError("gone")

    backend.go_on.set()
    ahead.begin("1", gone)
    ahead.begin("2", lambda: image("busy"))
    ahead.begin("3", lambda: image("broken"))
    wait_until(lambda: {"busy", "broken"} <= backend.done.keys())
    ahead.begin("4", lambda: image("fine"))
    wait_until(lambda: "fine" in backend.done)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "project 3" in caplog.text
