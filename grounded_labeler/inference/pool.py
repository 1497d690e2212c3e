"""The models of several pairs in one process: each loaded once, when it is first needed."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import Protocol

from grounded_labeler.inference.backend import Priority
from grounded_labeler.inference.batching import Unbatched
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.parts import LoadedModel, Part
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import trim_memory
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.summary import ModelSummary, PairSummary

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 60.0  # who needs models that could not be loaded has them tried again after that


class ModelLoader(Protocol):
    """Loads the models of a pool: see loader.py."""

    def parts(self, choice: ModelChoice) -> tuple[Part, ...]:
        """Return the models of a pair; raises WeightsError or SettingsError if there are none."""

    def summarize(self, choice: ModelChoice) -> PairSummary:
        """Return what the files say of a pair as they are now; raises as `parts` does."""

    def verify(self, parts: Sequence[Part]) -> None:
        """Raise WeightsError when the files of some are missing or damaged."""

    def nbytes(self, part: Part) -> int:
        """Return the size of its weights in bytes, before it is loaded."""

    def load(self, part: Part) -> LoadedModel:
        """Load a model that `verify` let pass."""

    def pipeline(self, choice: ModelChoice, models: Sequence[LoadedModel]) -> Pipeline:
        """Put the loaded models of `parts` together; the pipeline has not run yet."""


@dataclass(frozen=True, eq=False)
class _Loaded:
    model: LoadedModel
    nbytes: int
    summary: ModelSummary  # of the files that it was loaded from, which may have changed since


class ModelPool:
    """Backends of pairs of models, by their choice; threads share it.

    Pairs share the models that they have in common, and all of them one queue: two models at
    once on the same cores take as long together. The default pair is loaded from the start. What
    else is loaded stays while the weights of all fit into `max_bytes`; then the model that was
    needed least recently is unloaded, but none of the default pair, and none that a request
    needs now.
    """

    def __init__(
        self,
        loader: ModelLoader,
        queue: InferenceQueue,
        default: ModelChoice,
        max_bytes: int | None = None,
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        """Begin to load the default pair.

        Args:
            loader: loads the models.
            queue: runs them.
            default: the pair of those who choose none. When it cannot be loaded, that is final.
            max_bytes: the most that the weights of all loaded models take; None for no limit.
                One model that is larger is loaded all the same, as the only one.
            retry_after_s: seconds after which a load of another pair that failed is tried again.
        """
        self.lock = threading.RLock()
        self._loader, self._queue, self._max_bytes = loader, queue, max_bytes
        self._retry_after_s = retry_after_s
        self._backends: dict[ModelChoice, LocalBackend] = {}
        # Those of pairs that were loaded once; of others it is not known whether they exist.
        self._parts: dict[ModelChoice, tuple[Part, ...]] = {}
        self._loaded: OrderedDict[Part, _Loaded] = OrderedDict()  # the most recently used one last
        self._turn = threading.Lock()  # one load at a time
        self.default = LocalBackend(partial(self._load, default), queue, default.name, self)
        self._backends[default] = self.default
        self.default.begin()

    def of(self, choice: ModelChoice) -> LocalBackend:
        """Return the backend of a pair; its models are loaded when they are first needed."""
        with self.lock:
            if choice not in self._backends:
                self._backends[choice] = LocalBackend(
                    partial(self._load, choice), self._queue, choice.name, self, self._retry_after_s
                )
            return self._backends[choice]

    def mark_used(self, backend: LocalBackend) -> None:
        """Note that the models of `backend` are needed now."""
        with self.lock:
            for part in self._parts_of(backend):
                if part in self._loaded:
                    self._loaded.move_to_end(part)

    def loaded_beside(self, backend: LocalBackend) -> tuple[str, ...]:
        """Return the names of the other pairs that are loaded."""
        with self.lock:
            others = [one for one in self._backends.values() if one is not backend]
            return tuple(one.name for one in others if one.is_loaded)

    def summary_of(self, backend: LocalBackend) -> PairSummary:
        """Return what is known of a pair: of a loaded model, of the files it was loaded from.

        Who replaces a file while the service runs must not get predictions of the old weights
        under the version of the new ones. Raises as the loader's `parts` does.
        """
        choice = self._choice_of(backend)
        pair = self._loader.summarize(choice)
        # Every request comes here: of a pair that was loaded, the parts are known.
        parts = self._parts_of(backend) or self._loader.parts(choice)
        with self.lock:
            loaded = {part: one.summary for part, one in self._loaded.items()}
        models = [
            loaded.get(part, found) for part, found in zip(cycle(parts), pair.models, strict=False)
        ]
        return replace(pair, models=tuple(models))

    def release(self) -> None:
        """Give back memory that models need only while they run; the next runs are slower."""
        with self.lock:
            models = [one.model for one in self._loaded.values()]
        for model in models:
            model.release()
        del models
        trim_memory()

    def make_room(self, nbytes: int = 0) -> None:
        """Unload what nobody needs, least recently used first, until `nbytes` more fit in."""
        unloaded = False
        with self.lock:
            while self._is_too_much(nbytes):
                free = [part for part in self._loaded if not self._is_needed(part)]
                if not free:
                    break
                self._unload(free[0])
                unloaded = True
        if unloaded:
            trim_memory()

    def _is_too_much(self, nbytes: int) -> bool:
        taken = sum(one.nbytes for one in self._loaded.values())
        return self._max_bytes is not None and taken + nbytes > self._max_bytes

    def _is_needed(self, part: Part) -> bool:
        users = self._users(part)
        return self.default in users or any(one.is_held for one in users)

    def _unload(self, part: Part) -> None:
        users = self._users(part)
        names = [one.name for one in users if one.is_loaded]
        logger.info(
            "Unloading %s, for which others need the memory%s",
            part, f": it was that of {', '.join(names)}" if names else "",
        )  # fmt: skip
        for one in users:
            one.unload()
        del self._loaded[part]

    def _users(self, part: Part) -> list[LocalBackend]:
        return [self._backends[choice] for choice, parts in self._parts.items() if part in parts]

    def _parts_of(self, backend: LocalBackend) -> tuple[Part, ...]:
        return self._parts.get(self._choice_of(backend), ())

    def _choice_of(self, backend: LocalBackend) -> ModelChoice:
        with self.lock:
            return next(choice for choice, one in self._backends.items() if one is backend)

    def _load(self, choice: ModelChoice) -> Pipeline:
        """Load those models of a pair that are not loaded; runs on a thread of its own."""
        with self._turn, self.of(choice).hold():
            parts = self._loader.parts(choice)
            found = dict(zip(parts, self._loader.summarize(choice).models, strict=False))
            with self.lock:
                self._parts[choice] = parts
                new = [part for part in parts if part not in self._loaded]
            self._loader.verify(new)
            try:
                for part in new:
                    self._load_part(part, found[part])
                models = [self._loaded[part].model for part in parts]
                pipeline = self._loader.pipeline(choice, models)
                # Not a function made here: an error that comes out of it would keep the models.
                warm_up = partial(_warm_up, kinds={part.kind for part in new})
                self._queue.run(Unbatched(warm_up), [pipeline], priority=Priority.TYPED_PROMPT)
            except BaseException:
                with self.lock:
                    for part in new:
                        self._loaded.pop(part, None)
                raise
            return pipeline

    def _load_part(self, part: Part, summary: ModelSummary) -> None:
        nbytes = self._loader.nbytes(part)
        self.make_room(nbytes)
        if self._is_too_much(nbytes):
            logger.warning("Loading %s beyond MODELS_BYTES: what else is loaded is needed", part)
        model = self._loader.load(part)
        with self.lock:
            self._loaded[part] = _Loaded(model, nbytes, summary)


def _warm_up(pipelines: Sequence[Pipeline], kinds: Collection[str]) -> list[None]:
    """Run once what a pipeline has of these kinds: others of its models ran before."""
    detector = bool(kinds) and kinds != {"segmenter"}
    segmenter = bool(kinds) and kinds != {"detector"}
    for pipeline in pipelines:
        pipeline.warm_up(detector=detector, segmenter=segmenter)
    return [None for _ in pipelines]
