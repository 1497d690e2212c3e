"""Requests that wait for the models at the same time, answered together where that is faster."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from grounded_labeler.executor import Executor, IsGone
from grounded_labeler.pipeline import Found, Job, Pipeline

logger = logging.getLogger(__name__)


class Models(Protocol):
    """Models that are ready; `batch_size` is how many pictures are asked about at once."""

    @property
    def device(self) -> str: ...

    @property
    def batch_size(self) -> int: ...


class Asker(Protocol):
    """Has the models answer, in this process or elsewhere; threads share it.

    `is_lost` once nothing will be answered any more, until the process is replaced.
    """

    is_lost: bool

    def run(
        self,
        models: Any,  # noqa: ANN401 - those that this one asks
        jobs: Sequence[Job],
        is_gone: IsGone,
        patience: float,
        /,
    ) -> list[Found]:
        """The answers to `jobs`, in order; raises CallerGone, NotReady and what models raise."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    """The jobs of one caller, and where their answers are put."""

    jobs: Sequence[Job]
    found: "Future[list[Found]]" = field(default_factory=Future)


class Batcher:
    """Fills the pipeline's batches with the jobs of whoever waits; threads share it.

    On a CPU a batch is one picture, and callers are answered one after the other.
    """

    is_lost = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()

    def run(
        self, pipeline: Pipeline, jobs: Sequence[Job], is_gone: IsGone, patience: float
    ) -> list[Found]:
        """The answers to `jobs`, in order; raises as `Executor.run` and the pipeline do."""
        mine = _Waiting(jobs)
        with self._lock:
            self._waiting.append(mine)
        try:
            self._executor.run(lambda: self._answer(mine, pipeline), is_gone, patience)
        finally:
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
        return mine.found.result()

    def _answer(self, mine: _Waiting, pipeline: Pipeline) -> None:
        """On the models' thread, when the turn of `mine` has come."""
        group = self._take(mine, pipeline.batch_size)
        if len(group) > 1:
            try:
                found = iter(pipeline.run([job for one in group for job in one.jobs]))
            except Exception:  # noqa: BLE001 - raised again where each is answered alone
                # Whose job it was is not known: it must not take the others' with it.
                logger.warning("A batch of %d callers failed: each is answered alone", len(group))
            else:
                for one in group:
                    one.found.set_result([next(found) for _ in one.jobs])
                return
        for one in group:
            try:
                one.found.set_result(pipeline.run(one.jobs))
            except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
                one.found.set_exception(error)

    def _take(self, mine: _Waiting, room: int) -> list[_Waiting]:
        """`mine` and those behind it that still fit into a batch; nothing when it is answered."""
        with self._lock:
            if mine not in self._waiting:
                return []
            group = [mine]
            for one in self._waiting:
                if one is not mine and sum(len(each.jobs) for each in (*group, one)) <= room:
                    group.append(one)
            for one in group:
                self._waiting.remove(one)
            return group
