"""The base class of label-studio-ml, imported without PyTorch and OpenTelemetry.

Its module imports torch, where that is installed, to start processes for training: seconds and
hundreds of megabytes for something that nothing here starts. Without torch it takes Python's own
processes.
https://github.com/HumanSignal/label-studio-ml-backend/blob/master/label_studio_ml/model.py

It imports the client of Redis, too, which is asked for nothing here and imports what it finds of
OpenTelemetry: https://github.com/redis/redis-py/tree/master/redis/observability
"""

import sys
from importlib import import_module
from typing import Any

_MODULE, _UNWANTED = "label_studio_ml.model", ("torch", "opentelemetry")


def label_studio_base() -> Any:  # noqa: ANN401 - label-studio-ml is untyped
    """Return `LabelStudioMLBase`. Call it while no other thread imports these."""
    absent = [name for name in _UNWANTED if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment] # makes its import fail
    try:
        return import_module(_MODULE).LabelStudioMLBase
    finally:
        for name in absent:
            del sys.modules[name]
