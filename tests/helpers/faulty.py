"""The service on a detector that does what a phrase says.

Served as `gunicorn tests.helpers.faulty:app`.

"sleep 0.5" sleeps for so many seconds (a dot between digits does not end a phrase), "hang"
waits for the file `release`, "wait" while there is a file `hold`, both for a few minutes at
most, and "die" kills the process. The file `end-thread` ends the models' thread once it has
nothing to do. All files lie in MODEL_DIR: `runs` gets a line for each run of the detector,
`arrivals` one for each request, both with the process's id. BATCH_SIZE is how many images the
detector takes at once.
"""

import logging.config
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from flask import request
from numpy.typing import NDArray

from grounded_labeler import logs
from grounded_labeler.__about__ import __version__
from grounded_labeler.cache import ByteCache
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.inference.loader import load_pipeline
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.label_studio.backend import GroundedLabeler
from grounded_labeler.models.detectors import Detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.server.app import create_app
from grounded_labeler.service import start_service
from grounded_labeler.settings import Settings
from grounded_labeler.tracing import start_tracing

_LONGEST_HANG_S = 240.0


class FaultyDetector:
    """The detector it is given, once it has done what the phrases say."""

    def __init__(self, detector: Detector, folder: Path) -> None:
        self.device = detector.device
        self.batch_size = int(os.environ.get("BATCH_SIZE", detector.batch_size))
        self.longest = detector.longest
        self._detector, self._folder = detector, folder

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        return self._detector.embed(images)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        asked = [text for texts in phrases for text in texts]
        note(self._folder / "runs", ". ".join(asked))
        for text in asked:
            self._obey(text)
        return self._detector.detect(images, phrases)

    def release(self) -> None:
        self._detector.release()

    def _obey(self, text: str) -> None:
        if text.startswith("sleep "):
            time.sleep(float(text.removeprefix("sleep ")))
        elif text == "hang":
            self._wait_until((self._folder / "release").exists)
        elif text == "wait":
            self._wait_until(lambda: not (self._folder / "hold").exists())
        elif text == "die":
            os.kill(os.getpid(), signal.SIGKILL)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _LONGEST_HANG_S
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)


def note(file: Path, text: str) -> None:
    """Append a line that other processes' lines do not mix with: id, time, `text`."""
    with file.open("a") as lines:
        lines.write(f"{os.getpid()} {time.time()} {text}\n")


def load() -> Pipeline:
    """The models of the settings, their detector wrapped."""
    pipeline = load_pipeline(settings, ByteCache(settings.cache_bytes))
    detector = FaultyDetector(pipeline.detector, settings.model_dir)
    return Pipeline(detector, pipeline.segmenter)


def end_if_told() -> None:
    """End the thread this runs on."""
    told = settings.model_dir / "end-thread"
    if told.exists():
        told.unlink()
        raise SystemExit


settings = Settings.from_env(os.environ)
logging.config.dictConfig(logs.config(settings))
queue = InferenceQueue(settings.model_deadline, end_if_told, idle_seconds=0)
start_tracing(__version__, shows_prompts=settings.log_prompts)
service = start_service(settings, LocalBackend(load, queue))
app = create_app(GroundedLabeler.bound_to(service), service)


@app.before_request
def note_arrival() -> None:
    note(settings.model_dir / "arrivals", f"{request.path} {request.args.get('tag', '')}")
