"""What a caller can watch while the models run: a context around each stage."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """The stages of a pipeline, in the order in which they run."""

    PREPARE = "prepare"  # an image resized and normalised for the detector
    ENCODE_TEXT = "encode_text"
    ENCODE_IMAGE = "encode_image"
    DECODE = "decode"  # boxes and scores from the encoded image and text
    SELECT = "select"  # thresholds, labels and duplicates
    SEGMENT_ENCODE = "segment_encode"
    SEGMENT_DECODE = "segment_decode"
    UPSCALE = "upscale"  # masks brought to the size of the image


class Observer(Protocol):
    """Sees when each stage begins and ends; several threads may call one."""

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """Return a context that the models enter before the stage and leave after it."""
        ...


class NoObserver:
    """An Observer that does nothing."""

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        return nullcontext()


NO_OBSERVER = NoObserver()
