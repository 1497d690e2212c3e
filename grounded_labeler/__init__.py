"""Label images by typing what is in them."""

from importlib import import_module
from typing import TYPE_CHECKING

from grounded_labeler.__about__ import __version__

if TYPE_CHECKING:
    from grounded_labeler.core.types import Label
    from grounded_labeler.labeler import Labeler
    from grounded_labeler.results import DetectedObject, LabelResult


__all__ = ["DetectedObject", "Label", "LabelResult", "Labeler", "__version__"]

# The Python API, by the modules it is imported from at its first use: `import grounded_labeler`
# alone imports nothing that takes time.
_MODULES = {
    "DetectedObject": "results",
    "Label": "core.types",
    "LabelResult": "results",
    "Labeler": "labeler",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
