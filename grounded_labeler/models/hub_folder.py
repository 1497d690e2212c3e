"""Reads folders in the hub's layout, as transformers' `save_pretrained` writes them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from grounded_labeler.errors import WeightsError

# For every from_pretrained: nothing is fetched, no code of a folder is run.
LOCAL = {"local_files_only": True, "trust_remote_code": False}

_DAMAGE = (
    OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip

# transformers builds a model under settings of the whole process: of two threads that load at
# once, one would find weights missing.
_turn = threading.Lock()


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """While open, transformers reads `folder` without progress bars and reports.

    What it raises of a missing or damaged file becomes a WeightsError. Threads take turns.
    """
    with _turn:
        verbosity = transformers_logging.get_verbosity()
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            yield
        except _DAMAGE as error:
            raise WeightsError(
                f"{folder} is incomplete or damaged: download or save its files again."
            ) from error
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()
