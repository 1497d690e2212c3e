"""Encodes images before anybody clicks on them, while the models have nothing else to do."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.inference.backend import InferenceBackend

logger = logging.getLogger(__name__)

LoadImage = Callable[[], DecodedImage]

_MOST_WAITING = 16  # images; the oldest is dropped


class EncodeAhead:
    """One thread that encodes the image last opened of each project; threads share it.

    Who opens another task of a project no longer needs the image before it.
    """

    def __init__(self, backend: InferenceBackend) -> None:
        self._backend = backend
        self._wanted: OrderedDict[str, LoadImage] = OrderedDict()
        self._changed = threading.Condition()
        # Not a ThreadPoolExecutor: the process could not end while the models are stuck.
        threading.Thread(target=self._work, name="encode-ahead", daemon=True).start()

    def begin(self, project: str, load: LoadImage) -> None:
        """Encode the image that `load` returns, in place of the one before it of `project`."""
        with self._changed:
            self._wanted[project] = load
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
                project, load = next(reversed(self._wanted.items()))
            self._encode(project, load)
            with self._changed:
                if self._wanted.get(project) is load:
                    del self._wanted[project]
            del load  # what it holds goes now, not with the next one

    def _encode(self, project: str, load: LoadImage) -> None:
        def cancelled() -> bool:
            return self._wanted.get(project) is not load

        try:
            self._backend.encode(load(), cancelled)
        except GroundedLabelerError as error:  # whoever clicks will be told
            logger.debug("project %s: no image was encoded ahead: %s", project, error)
        except Exception:
            logger.exception("project %s: no image was encoded ahead", project)
