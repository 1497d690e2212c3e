"""Drops the weights of an idle module and reads them from their file when it runs again.

The module gives back only memory of its own: it drops tensors, and the library that
mapped a file unmaps it once no tensor of it is left.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Weights = Mapping[str, Tensor]
ReadWeights = Callable[[], Weights]

_OPEN_FILES = Path("/proc/self/fd")


class OpenFile:
    """A file as it was when it was opened, whatever is put under its name later."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be opened; it is closed with this object."""
        self._path = path
        self._file = path.open("rb")

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    @property
    def path(self) -> Path:
        """Where the opened file can be opened again: on Linux also when it was replaced."""
        open_again = _OPEN_FILES / str(self._file.fileno())
        return open_again if open_again.exists() else self._path


class UnloadableModule:
    """A module that can drop its weights and read them again; threads take turns."""

    def __init__(self, module: nn.Module, read: ReadWeights | None) -> None:
        """`read` gives the weights that `module` has now, under the names of its state_dict.

        Without it, or where that is not what it gives, the module keeps its weights.
        """
        self._module, self._read = module, read
        self._turn = threading.Lock()
        self._is_loaded = True
        self._can_unload = read is not None and _outline(read()) == _outline(module.state_dict())
        if read is not None and not self._can_unload:
            logger.info("The text encoder stays in memory: its file has other names or types.")

    @contextmanager
    def loaded(self) -> Iterator[nn.Module]:
        """The module with its weights, as long as the context is open.

        Raises as `read` does when they have to be read again and cannot be.
        """
        with self._turn:
            if not self._is_loaded and self._read is not None:
                self._module.load_state_dict(self._read(), assign=True)
                self._is_loaded = True
            yield self._module

    def release(self) -> None:
        """Drop the weights until the module is used again; they stay if no file has them."""
        if not self._can_unload:
            return
        with self._turn:
            nothing = {
                name: torch.empty_like(value, device="meta")
                for name, value in self._module.state_dict().items()
            }
            self._module.load_state_dict(nothing, assign=True)
            self._is_loaded = False


def pick(weights: Weights, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights whose names begin with a key of `names`, which its value then replaces."""
    return {
        new + name.removeprefix(old): value
        for old, new in names.items()
        for name, value in weights.items()
        if name.startswith(old)
    }


def _outline(weights: Weights) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in weights.items()}
