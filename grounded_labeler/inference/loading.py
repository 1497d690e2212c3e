"""Something that takes long to load, loaded on a thread of its own."""

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, Protocol, TypeVar

from grounded_labeler.errors import GroundedLabelerError, NotReady, StillLoading
from grounded_labeler.inference.backend import BackendState
from grounded_labeler.models.runtime.device import Runtime

logger = logging.getLogger(__name__)


class LoadedModels(Protocol):
    """What can be said of models, wherever they run."""

    @property
    def device(self) -> str: ...

    @property
    def runtime(self) -> Runtime | None: ...


Loaded = TypeVar("Loaded", bound=LoadedModels)


class BackgroundLoad(Generic[Loaded]):
    """The models, or what stands for them, while they load and after."""

    def __init__(self, load: Callable[[], Loaded], name: str) -> None:
        """Call `load` on a new thread; log lines call what it loads `name`."""
        self._future: Future[Loaded] = Future()
        self._load, self._name = load, name
        self._ended_at = math.inf
        threading.Thread(target=self._run, name="load-models", daemon=True).start()

    @property
    def state(self) -> BackendState:
        """LOADING, READY or FAILED."""
        if not self._future.done():
            return BackendState.LOADING
        return BackendState.FAILED if self._future.exception() else BackendState.READY

    def has_failed_for(self, seconds: float) -> bool:
        """Whether it failed, at least so many seconds ago."""
        is_failed = self.state is BackendState.FAILED
        return is_failed and time.monotonic() - self._ended_at >= seconds

    def get(self, timeout_s: float) -> Loaded:
        """Return what was loaded; raises NotReady when it failed or takes too long."""
        try:
            failure = self._future.exception(None if timeout_s == math.inf else timeout_s)
        except FutureTimeoutError:
            raise StillLoading("The models are still loading: try again in a minute.") from None
        if isinstance(failure, GroundedLabelerError):
            raise NotReady(str(failure)) from failure
        if failure is not None:
            sentence = "The models could not be loaded: the log says why."
            raise NotReady(sentence) from failure
        return self._future.result()

    def _run(self) -> None:
        start = time.monotonic()
        logger.info("Loading %s", self._name)
        try:
            try:
                loaded = self._load()
            finally:
                self._ended_at = time.monotonic()
        except GroundedLabelerError as error:
            logger.error("The models could not be loaded: %s", error)  # noqa: TRY400 - one clear line
            self._fail(error)
        except BaseException as error:
            logger.exception("The models could not be loaded")
            self._fail(error)
        else:
            facts = {"device": loaded.device}
            if (runtime := loaded.runtime) is not None:
                facts |= {"runtime": runtime.name, "precision": runtime.precision}
            logger.info(
                "Models ready after %.0f s: %s, on %s by %s",
                time.monotonic() - start, self._name, loaded.device, runtime,
                extra=facts,
            )  # fmt: skip
            self._future.set_result(loaded)

    def _fail(self, error: BaseException) -> None:
        # The error keeps the frames it came through, and they keep what was loaded by then.
        traceback.clear_frames(error.__traceback__)
        self._future.set_exception(error)
