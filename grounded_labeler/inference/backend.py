"""Where the models run: one Protocol, an implementation for each place."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum, StrEnum
from typing import Protocol

from grounded_labeler import metrics
from grounded_labeler.core.inference import InferenceResult, Request
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.summary import PairSummary

# Label Studio gives up on a prediction after 100 s; loading that takes longer is said sooner.
LOADING_TIMEOUT_S = 60.0

Cancelled = Callable[[], bool]  # whether the caller no longer waits for the results


def never_cancelled() -> bool:
    """For callers that cannot go away, or of whom it is not known."""
    return False


class Priority(IntEnum):
    """Who waits for a result: the queue takes the smaller number first."""

    FURTHER_CLICK = 0  # an annotator corrects a mask: one run of the mask decoder is enough
    CLICK = 1  # the image may have to be encoded first, which takes ten times as long
    TYPED_PROMPT = 2  # an annotator looks at the screen
    PREANNOTATION = 3
    ENCODE_AHEAD = 4  # nobody waits

    @property
    def kind(self) -> str:
        """What it is called in metrics."""
        return self.name.lower()


for _priority in Priority:
    metrics.QUEUE.labels(_priority.kind)  # so that a kind that never came is 0, and not absent


class BackendState(StrEnum):
    """What the models of a backend are doing, as /health says it."""

    LOADING = "loading"
    READY = "ready"
    STUCK = "stuck"  # a batch runs for longer than MODEL_DEADLINE
    LOST = "lost"  # no request will be processed any more: a new process is the way out
    FAILED = "failed"  # the models could not be loaded


class InferenceBackend(Protocol):
    """Runs one pair of models, in this process or elsewhere; threads share it.

    `of` gives those of other pairs. The pair of a service's default is loaded from the start,
    another one once it is first needed: `wait_until_ready`, `run` and `encode` begin that.
    """

    def of(self, choice: ModelChoice) -> "InferenceBackend":
        """Return the backend of another pair; nothing is loaded yet."""

    def summary(self) -> PairSummary | None:
        """Return what is known of the models as they run; None where their files here say all.

        Raises NotReady when whoever has the files cannot be asked, WeightsError when they are here
        and say nothing.
        """

    def hold(self) -> AbstractContextManager[None]:
        """Keep the models loaded, once they are, while the block runs."""

    @property
    def others_loaded(self) -> tuple[str, ...]:
        """The names of the other pairs that are loaded in this process."""

    @property
    def state(self) -> BackendState: ...

    @property
    def device(self) -> str:
        """What the models run on, as "cuda"; raises as `wait_until_ready(0)` does."""

    @property
    def runtime(self) -> Runtime | None:
        """What computes them, where it is known; raises as `wait_until_ready(0)` does."""

    @property
    def batch_size(self) -> int:
        """How many images make one run of the models; raises as `wait_until_ready(0)` does."""

    def wait_until_ready(self, timeout_s: float = LOADING_TIMEOUT_S) -> None:
        """Wait until the models are loaded; raises NotReady, with the reason, if they are not."""

    def check(self) -> None:
        """Raise NotReady, with the way out, when the state is STUCK or LOST."""

    def run(
        self,
        requests: Sequence[Request],
        cancelled: Cancelled,
        timeout_s: float,
        priority: Priority,
    ) -> list[InferenceResult]:
        """Return the results of `requests`, which are all of one class, in order.

        Raises CallerGone once `cancelled` returns True, NotReady when the models are not
        ready or the turn of the requests has not come after `timeout_s` seconds, and what the
        models raise.
        """

    def encode(self, image: DecodedImage, cancelled: Cancelled) -> None:
        """Compute what all prompts of an image share, so that its first click is as fast as others.

        Other requests go first. Raises as `run` does; does nothing where that is of no use.
        """
