"""Encodes images before anybody clicks on them, while the models have nothing else to do."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from grounded_labeler import tracing
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.inference.backend import InferenceBackend
from grounded_labeler.request_context import RequestContext, current, entered

logger = logging.getLogger(__name__)

LoadImage = Callable[[], DecodedImage]
_Wanted = tuple[LoadImage, InferenceBackend, RequestContext]

_MOST_WAITING = 16  # images; the oldest is dropped


class EncodeAhead:
    """One thread that encodes the image last opened of each project; threads share it.

    Who opens another task of a project no longer needs the image before it.
    """

    def __init__(self) -> None:
        self._wanted: OrderedDict[str, _Wanted] = OrderedDict()
        self._changed = threading.Condition()
        # Not a ThreadPoolExecutor: the process could not end while the models are stuck.
        threading.Thread(target=self._work, name="encode-ahead", daemon=True).start()

    def begin(self, project: str, load: LoadImage, backend: InferenceBackend) -> None:
        """Have `backend` encode the image that `load` returns, in place of the project's last."""
        with self._changed:
            self._wanted[project] = load, backend, current()
            self._wanted.move_to_end(project)
            if len(self._wanted) > _MOST_WAITING:
                self._wanted.popitem(last=False)
            self._changed.notify()

    def cancel(self, project: str) -> None:
        """Do not encode the image of `project` that waits."""
        with self._changed:
            self._wanted.pop(project, None)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted)
                project, wanted = next(reversed(self._wanted.items()))
            self._encode(project, wanted)
            with self._changed:
                if self._wanted.get(project) is wanted:
                    del self._wanted[project]
            del wanted  # what it holds goes now, not with the next one

    def _encode(self, project: str, wanted: _Wanted) -> None:
        def cancelled() -> bool:
            return self._wanted.get(project) is not wanted

        load, backend, context = wanted
        try:
            with entered(context), tracing.span("encode ahead"):
                backend.encode(load(), cancelled)
        except GroundedLabelerError as error:  # whoever clicks will be told
            logger.debug("project %s: no image was encoded ahead: %s", project, error)
        except Exception:
            logger.exception("project %s: no image was encoded ahead", project)
