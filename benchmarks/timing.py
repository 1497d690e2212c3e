"""Seconds per stage, and two ways of doing one thing measured in turns."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")
Seconds = dict[str, float]  # by stage

WHOLE = "whole"
# In the order of a request; `whole` is measured by itself and is no sum.
STAGES = (
    "fetch", "decode", "resize", "text", "detect", "NMS", "segment-encode",
    "segment-decode", "mask resize", "RLE", "JSON",
)  # fmt: skip


class _Open(threading.local):
    """The stages that this thread is in: for each, what its inner ones took."""

    def __init__(self) -> None:
        self.inner: list[float] = []


class Stopwatch:
    """Adds up the seconds of stages. What a stage within a stage takes is only the inner one's.

    Threads may share it; stages of two threads are never within each other, and count in
    full however they overlap. On a GPU every stage is waited for, so that its work counts
    where it was asked for.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.seconds: Seconds = {}
        self._on_gpu = device.startswith("cuda")
        self._open = _Open()
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as part of stage `name`."""
        inner = self._open.inner
        inner.append(0.0)
        start = self._now()
        try:
            yield
        finally:
            took = self._now() - start
            own = took - inner.pop()
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + own
            if inner:
                inner[-1] += took

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Time the block, stages in it included."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[WHOLE] = self._now() - start

    @contextmanager
    def calls(self, owner: object, method: str, name: str) -> Iterator[None]:
        """While open, every call of `owner.method` is timed as stage `name`.

        For a torch module, `forward` is the method to name.
        """
        original: Callable[..., Any] = getattr(owner, method)

        def timed(*args: object, **kwargs: object) -> object:
            with self.stage(name):
                return original(*args, **kwargs)

        shadowed = vars(owner).get(method)  # what is there already was set by another watch
        setattr(owner, method, timed)
        try:
            yield
        finally:
            if shadowed is None:
                delattr(owner, method)
            else:
                setattr(owner, method, shadowed)

    def _now(self) -> float:
        if self._on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


def alternating(
    ours: Callable[[], Ours], theirs: Callable[[], Theirs], rounds: int
) -> tuple[list[Ours], list[Theirs]]:
    """Run one, then the other, `rounds` times: what slows the machine down slows both."""
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return [one for one, _ in pairs], [other for _, other in pairs]
