"""SAM 3 as a detector: each phrase is asked alone, and has a presence in the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from grounded_labeler.core.types import Boxes, Candidates, DecodedImage, Scores
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors.batching import holders_of, in_batches, run_what_fits
from grounded_labeler.models.detectors.detector import Options
from grounded_labeler.models.embedding import embed
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.runtime.graph import Arrays, Graphs
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.sam3.facts import DETECTOR_NECK, Sam3Facts
from grounded_labeler.models.sam3.phrases import PhraseReader
from grounded_labeler.models.sam3.vision import Features, VisionEncoder

# Scores are a table of boxes by phrases, and each phrase brings boxes of its own: so many rows
# of the longest prompt take 240 MB. A hundred phrases keep all their boxes.
_MAX_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class PhraseResult:
    """What one phrase found in one image.

    Attributes:
        boxes: float32 (Q, 4), xyxy in pixels of the image.
        scores: float32 (Q,), in [0, 1], the presence multiplied in.
        presence: how likely the phrase is in the image at all, in [0, 1].
    """

    boxes: Boxes
    scores: Scores
    presence: float


@dataclass(frozen=True, eq=False)
class _Pass:
    """One run of the joint stage: an image, by its index in the request, and one text."""

    index: int
    image: DecodedImage
    features: Features
    text: str


class Sam3Detector:
    """A Detector whose answer for a phrase depends on no other phrase.

    It encodes each image and each phrase once and caches both. Only the joint stage, which
    brings the two together, runs for every phrase of every image.
    """

    def __init__(
        self,
        facts: Sam3Facts,
        tokenizer: Tokenizer,
        graphs: Graphs,
        vision: VisionEncoder,
        options: Options,
    ) -> None:
        """`graphs` has "text", "joint" and what `vision`, the encoder of images, needs."""
        self.device, self.batch_size = options.compute.device, vision.batch_size
        self.longest = facts.images.longest
        self.runtime = graphs.runtime
        self._graphs, self._vision = graphs, vision
        self._reader = PhraseReader(tokenizer, facts.max_tokens, facts.padding_id)
        self._cache, self._observer = options.cache, options.observer
        self._holders = holders_of(self._cache, graphs, options.compute.device)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """See Detector.detect."""
        texts = [self._reader.read(prompt) for prompt in phrases]
        prompted = [index for index, prompt in enumerate(texts) if any(prompt)]
        features = self._vision.features([images[index] for index in prompted])
        passes = [
            _Pass(index, images[index], features[images[index].key], text)
            for index in prompted
            for text in dict.fromkeys(texts[index])
            if text
        ]
        found: list[dict[str, PhraseResult]] = [{} for _ in images]
        for batch in in_batches(passes, lambda _: None, self.batch_size):
            self._find(batch, found)
        return [_candidates(each, prompt) for each, prompt in zip(found, texts, strict=True)]

    @translate_memory_errors()
    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """See Detector.embed."""
        features = self._vision.features(images)
        levels = [features[image.key].levels[DETECTOR_NECK][0] for image in images]
        return embed([self._graphs.to_numpy(level) for level in levels])

    def release(self) -> None:
        """See Detector.release."""
        self._graphs.release()

    @translate_memory_errors()
    def encode_text(self, texts: Sequence[str]) -> Arrays:
        """Encode B texts, in float32, as it is a fifth of the work of the joint stage.

        Returns float32 (B, T, C), padded, and which tokens are no padding, bool (B, T).
        """
        with self._observer.stage(Stage.ENCODE_TEXT):
            ids, mask = self._reader.tokens(texts)
            return (*self._graphs["text"](ids, mask), mask)

    def _find(self, batch: Sequence[_Pass], found: list[dict[str, PhraseResult]]) -> None:
        """Run one batch and add its results; in smaller ones where memory is short."""
        for part, outputs in run_what_fits(self._run, batch, self._holders, "phrases"):
            if isinstance(outputs, OutOfMemory):
                raise outputs
            for item, fractions, scores, presence in zip(part, *outputs, strict=True):
                height, width = item.image.pixels.shape[:2]
                boxes = fractions * np.array([width, height, width, height], np.float32)
                found[item.index][item.text] = PhraseResult(boxes, scores, float(presence[0]))

    @translate_memory_errors()
    def _run(
        self, batch: Sequence[_Pass]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (B, Q, 4) as fractions, scores (B, Q) and presences (B, 1)."""
        texts = self._texts([item.text for item in batch])
        with self._observer.stage(Stage.DECODE):
            level = self._graphs.stack([item.features.levels[DETECTOR_NECK][0] for item in batch])
            outputs = self._graphs["joint"](level, *texts)
            boxes, logits, presence_logits = map(self._graphs.to_numpy, outputs)
            presence = _sigmoid(presence_logits)
            return boxes, _sigmoid(logits) * presence, presence

    def _texts(self, texts: Sequence[str]) -> Arrays:
        """Return the texts (B, T, C) and their masks (B, T), from the cache or encoded now."""
        encoded: dict[str, Arrays | None] = {
            text: self._cache.get(("text", text)) for text in dict.fromkeys(texts)
        }
        new = [text for text, known in encoded.items() if known is None]
        if new:
            rows = self._graphs.split(self.encode_text(new))
            for text, one in zip(new, rows, strict=True):
                self._cache.put(("text", text), one, sum(part.nbytes for part in one))
                encoded[text] = one
        known = [one for one in map(encoded.get, texts) if one is not None]
        return tuple(self._graphs.stack(part) for part in zip(*known, strict=True))


def _candidates(found: Mapping[str, PhraseResult], texts: Sequence[str]) -> Candidates:
    """Join the results of an image's phrases: a column each, and a caption of its own each.

    Phrases of one text share its boxes and scores.
    """
    columns = {text: [i for i, own in enumerate(texts) if own == text] for text in found}
    kept = max(1, _MAX_ROWS // max(len(found), 1))
    boxes, captions = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.intp)]
    scores = [np.zeros((0, len(texts)), np.float32)]
    presence = np.zeros(len(texts), np.float32)
    for number, (text, result) in enumerate(found.items()):
        rows = np.sort(np.argsort(-result.scores, kind="stable")[:kept])
        table = np.zeros((len(rows), len(texts)), np.float32)
        table[:, columns[text]] = result.scores[rows, None]
        presence[columns[text]] = result.presence
        boxes.append(result.boxes[rows])
        scores.append(table)
        captions.append(np.full(len(rows), number, np.intp))
    joined = np.concatenate(scores)
    return Candidates(
        np.concatenate(boxes), joined, joined, np.concatenate(captions),
        presence=presence, scores_tokens=False,
    )  # fmt: skip


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # of what is far below 0, which is 0 then
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
