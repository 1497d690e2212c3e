"""Models that find nothing, and what loads them for a pool."""

import gc
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import WeightsError
from grounded_labeler.inference.parts import LoadedModel, Part
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.model import DefaultThresholds
from grounded_labeler.weights.summary import ModelSummary, PairSummary
from tests.helpers.models_thread import WAIT_S


class Model:
    """A detector and a segmenter that finds nothing, and notes how often it ran."""

    longest = 1333
    device, batch_size, runtime = "cpu", 8, Runtime("PyTorch", "fp32", 1)

    def __init__(self, ran: Counter[str], name: str) -> None:
        self._ran, self._name = ran, name
        self.batches: list[int] = []

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        return np.zeros((len(images), 2), np.float32)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        self._ran[self._name] += 1
        self.batches.append(len(images))
        scores = np.zeros((0, 1), np.float32)
        boxes = np.zeros((0, 4), np.float32)
        return [Candidates(boxes, scores, scores, np.zeros(0, np.intp)) for _ in images]

    def segment(self, image: DecodedImage, prompts: VisualPrompts) -> list[Segment]:
        self._ran[self._name] += 1
        return []

    def encode(self, image: DecodedImage) -> None:
        raise NotImplementedError

    def release(self) -> None:
        """Nothing is held between runs."""


class Loader:
    """Loads models of 100 bytes each, whose files have `sums`.

    `gates` hold up the loads of some, `broken` fail.
    """

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.ran: Counter[str] = Counter()
        self.gates: dict[str, threading.Event] = {}
        self.broken: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.sums: dict[str, str] = defaultdict(lambda: "first")
        self.made: dict[str, weakref.ref[Model]] = {}

    def summarize(self, choice: ModelChoice) -> PairSummary:
        names = [choice.detector] + [choice.segmenter] * choice.has_segmenter
        models = [ModelSummary(name, "test", {"file": self.sums[name]}) for name in names]
        return PairSummary(choice, tuple(models), DefaultThresholds(0.3, 0.25, "a test"))

    def verify(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if part.name in self.broken:
                raise WeightsError(f"{part.name} is damaged.")

    def nbytes(self, part: Part) -> int:
        return 100

    def parts(self, choice: ModelChoice) -> tuple[Part, ...]:
        if choice.detector == choice.segmenter:
            return (Part("both", choice.detector),)
        segmenter = [Part("segmenter", choice.segmenter)] if choice.has_segmenter else []
        return (Part("detector", choice.detector), *segmenter)

    def pipeline(self, choice: ModelChoice, models: Sequence[LoadedModel]) -> Pipeline:
        segmenter = cast(Model, models[-1]) if choice.has_segmenter else None
        return Pipeline(cast(Model, models[0]), segmenter, runtime=models[0].runtime)

    def load(self, part: Part) -> LoadedModel:
        self.loads.append(part.name)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        if part.name in self.gates:
            assert self.gates[part.name].wait(WAIT_S)
        self.at_once -= 1
        model = Model(self.ran, part.name)
        self.made[part.name] = weakref.ref(model)
        return model

    def is_gone(self, name: str) -> bool:
        gc.collect()
        return self.made[name]() is None
