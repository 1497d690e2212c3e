"""The base class of label-studio-ml, imported without PyTorch.

Its module imports torch, where that is installed, to start processes for training: seconds and
hundreds of megabytes for something that nothing here starts. Without torch it takes Python's own
processes.
https://github.com/HumanSignal/label-studio-ml-backend/blob/master/label_studio_ml/model.py
"""

import sys
from importlib import import_module
from typing import Any

_MODULE, _UNWANTED = "label_studio_ml.model", "torch"


def label_studio_base() -> Any:  # noqa: ANN401 - label-studio-ml is untyped
    """Return `LabelStudioMLBase`. Call it while no other thread imports torch."""
    if _MODULE in sys.modules or _UNWANTED in sys.modules:
        return import_module(_MODULE).LabelStudioMLBase
    sys.modules[_UNWANTED] = None  # type: ignore[assignment] # makes its import fail
    try:
        return import_module(_MODULE).LabelStudioMLBase
    finally:
        del sys.modules[_UNWANTED]
