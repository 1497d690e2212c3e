"""SAM 3 as a detector: each phrase is asked alone, and has a presence in the image."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grounded_labeler.core.types import Boxes, Candidates, DecodedImage, Scores
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors.batching import in_batches, in_halves
from grounded_labeler.models.detectors.detector import Options
from grounded_labeler.models.embedding import embed
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.runtime.graph import Graphs, Tensors
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.runtime.unloading import UnloadableModule
from grounded_labeler.models.sam3.build import Sam3Parts
from grounded_labeler.models.sam3.phrases import PhraseReader
from grounded_labeler.models.sam3.vision import DETECTOR_NECK, Features, VisionEncoder

logger = logging.getLogger(__name__)

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
        self, parts: Sam3Parts, graphs: Graphs, vision: VisionEncoder, options: Options
    ) -> None:
        """`graphs` computes the parts "joint" and what `vision`, the encoder of images, needs."""
        self.device, self.batch_size = options.compute.device, vision.batch_size
        self.longest = parts.side
        self.runtime = graphs.runtime
        self._graphs, self._vision = graphs, vision
        self._reader = PhraseReader(parts.tokenizer.backend_tokenizer, parts.max_tokens)
        self._tokenizer, self._max_tokens = parts.tokenizer, parts.max_tokens
        self._text = UnloadableModule(
            parts.text.eval().to(self.device),
            # On a GPU they are no longer those of the file.
            parts.read_text_weights if self.device == "cpu" else None,
        )
        self._cache, self._observer = options.cache, options.observer

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
        return embed([features[image.key].levels[DETECTOR_NECK][0] for image in images])

    def release(self) -> None:
        """See Detector.release."""
        self._text.release()
        self._graphs.release()

    @translate_memory_errors()
    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensors:
        """Encode B texts, in float32, as it is a fifth of the work of the joint stage.

        Returns float32 (B, T, C), padded, and which tokens are no padding, bool (B, T).
        """
        with self._observer.stage(Stage.ENCODE_TEXT), self._text.loaded() as encoder:
            tokens = self._tokenizer(
                list(texts), padding="max_length", max_length=self._max_tokens, return_tensors="pt"
            ).to(self.device)
            ids, mask = tokens["input_ids"], tokens["attention_mask"]
            return encoder(ids, mask), mask.bool()

    def _find(self, batch: Sequence[_Pass], found: list[dict[str, PhraseResult]]) -> None:
        """Run one batch and add its results; retries in smaller ones when memory is short."""
        try:
            outputs = self._run(batch)
        except OutOfMemory:
            self._cache.clear()  # on a GPU it holds the very memory that is short
            if len(batch) == 1:
                raise
            logger.warning(
                "Out of memory on a batch of %d phrases: trying %d", len(batch), len(batch) // 2
            )
        else:
            for item, fractions, scores, presence in zip(batch, *outputs, strict=True):
                height, width = item.image.pixels.shape[:2]
                boxes = fractions * np.array([width, height, width, height], np.float32)
                found[item.index][item.text] = PhraseResult(boxes, scores, float(presence[0]))
            return
        for half in in_halves(batch):
            self._find(half, found)

    @translate_memory_errors()
    @torch.inference_mode()
    def _run(
        self, batch: Sequence[_Pass]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (B, Q, 4) as fractions, scores (B, Q) and presences (B, 1)."""
        texts = self._texts([item.text for item in batch])
        with self._observer.stage(Stage.DECODE):
            level = _stack([item.features.levels[DETECTOR_NECK][0] for item in batch])
            boxes, logits, presence_logits = self._graphs["joint"](level, *texts)
            presence = presence_logits.sigmoid()
            scores = logits.sigmoid() * presence
            return boxes.cpu().numpy(), scores.cpu().numpy(), presence.cpu().numpy()

    def _texts(self, texts: Sequence[str]) -> Tensors:
        """Return the texts (B, T, C) and their masks (B, T), from the cache or encoded now."""
        encoded: dict[str, Tensors | None] = {
            text: self._cache.get(("text", text)) for text in dict.fromkeys(texts)
        }
        new = [text for text, known in encoded.items() if known is None]
        if new:
            rows = self.encode_text(new)
            for place, text in enumerate(new):
                one = tuple(part[place : place + 1].clone() for part in rows)
                self._cache.put(("text", text), one, sum(part.nbytes for part in one))
                encoded[text] = one
        known = [one for one in map(encoded.get, texts) if one is not None]
        return tuple(_stack(part) for part in zip(*known, strict=True))


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


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
