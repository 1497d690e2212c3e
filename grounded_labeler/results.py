"""The result of labelling one image, and its forms in other tools."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.coco import CocoAnnotation, coco_annotation, coco_rle
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes, Detections, RGBImage, Scores, TileCount
from grounded_labeler.rendering import Shape, draw_shapes

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False)
class DetectedObject:
    """One object of an image, or one near miss.

    Attributes:
        box: float32 (4,), xyxy in pixels, half-open.
        score: the phrase's score in [0, 1].
        phrase: the phrase of the prompt that found it.
        label: the label that the phrase means; None where no label fits.
        mask: bool (H, W) at the size of the image; None without masks.
    """

    box: NDArray[np.float32]
    score: float
    phrase: str
    label: str | None
    mask: NDArray[np.bool_] | None = None

    @property
    def name(self) -> str:
        """The label, or else the phrase."""
        return self.label or self.phrase


@dataclass(frozen=True, eq=False)
class LabelResult:
    """What was found in one image: N objects, best score first.

    `len(result)` is N, and iterating gives each object as a `DetectedObject`.

    Attributes:
        boxes: float32 (N, 4), xyxy in pixels of the upright image, half-open, inside it.
        scores: float32 (N,), in [0, 1].
        labels: (N,), the label that each object's phrase means, None where no label fits.
        phrases: (N,), the phrase of the prompt that found each object.
        size_hw: height and width of the image in pixels.
        image: uint8 RGB (H, W, 3), the upright pixels that were labelled.
        near_misses: objects that score below their box threshold by at most 0.1, best first;
            a box threshold of such a score shows them.
        best_scores: for each phrase to look for, the highest score of any candidate box in
            [0, 1], whether it is shown or not.
        box_thresholds: for each phrase to look for, the box threshold that held, in [0, 1].
        presence: for each phrase to look for, how likely it is in the image at all, in [0, 1];
            None where the detector does not say.
        tiles: how many tiles of the image the detector looked at; None where there are none.
        class_names: the labels that were given, then each phrase that no label fits. Results
            of the same prompt and labels have the same class names.
    """

    boxes: Boxes
    scores: Scores
    labels: tuple[str | None, ...]
    phrases: tuple[str, ...]
    size_hw: tuple[int, int]
    image: RGBImage = field(repr=False)
    near_misses: tuple[DetectedObject, ...]
    best_scores: Mapping[str, float]
    box_thresholds: Mapping[str, float]
    presence: Mapping[str, float] | None
    tiles: TileCount | None
    class_names: tuple[str, ...]
    _masks: Sequence[Mask] | None = field(repr=False)

    @classmethod
    def from_inference(cls, request: InferenceRequest, result: InferenceResult) -> Self:
        """Make the result of what was asked and what the models returned."""
        phrases = request.prompt.phrases
        wanted = [
            (phrase.text, label, best, limit)
            for phrase, label, best, limit in zip(
                phrases,
                request.phrase_labels,
                result.best_scores,
                request.box_thresholds,
                strict=True,
            )
            if not phrase.negative
        ]
        names = [label.value for label in request.labels]
        names += [text for text, label, *_ in wanted if label is None]
        return cls(
            boxes=result.detections.boxes,
            scores=result.detections.scores,
            labels=result.detections.labels,
            phrases=result.detections.phrases,
            size_hw=result.size_hw,
            image=request.image.pixels,
            near_misses=tuple(_objects(result.near_misses, None)),
            best_scores={text: best for text, _, best, _ in wanted},
            box_thresholds={text: limit for text, *_, limit in wanted},
            presence=_presence(request, result),
            tiles=result.tiles,
            class_names=tuple(dict.fromkeys(names)),
            _masks=result.masks,
        )

    @cached_property
    def masks(self) -> NDArray[np.bool_] | None:
        """The objects' masks, bool (N, H, W); None without masks.

        They are unpacked at the first use, N x H x W bytes, and stay in memory then. Iterating
        over the result unpacks one at a time.
        """
        if self._masks is None:
            return None
        full = np.zeros((len(self), *self.size_hw), np.bool_)
        for row, mask in zip(full, self._masks, strict=True):
            row[...] = mask.full()
        return full

    @property
    def has_masks(self) -> bool:
        """Whether masks were made; unlike `masks` it unpacks none."""
        return self._masks is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Each object's label, or else its phrase."""
        pairs = zip(self.labels, self.phrases, strict=True)
        return tuple(label or phrase for label, phrase in pairs)

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[DetectedObject]:
        detections = Detections(self.boxes, self.scores, self.phrases, self.labels)
        return _objects(detections, self._masks)

    def draw(self, image: Image.Image | None = None) -> Image.Image:
        """Draw masks, boxes, names and scores.

        Args:
            image: what to draw on, of the same size; the labelled image if None.

        Returns:
            A new RGB image of the same size, or where the longer side has less than 120 pixels,
            a whole number of times as large.
        """
        pixels = self.image if image is None else np.asarray(image.convert("RGB"))
        if pixels.shape[:2] != self.size_hw:
            height, width = self.size_hw
            raise ValueError(
                f"The image to draw on must be {width} x {height} pixels, as the labelled one, "
                f"not {pixels.shape[1]} x {pixels.shape[0]}."
            )
        masks = [None] * len(self) if self._masks is None else self._masks
        shapes = [
            Shape(name, float(score), box, mask)
            for name, score, box, mask in zip(
                self.names, self.scores, self.boxes, masks, strict=True
            )
        ]
        return Image.fromarray(draw_shapes(pixels, shapes))

    def to_supervision(self) -> "supervision.Detections":
        """Convert to `supervision.Detections`.

        `class_id` indexes `class_names`; `data["class_name"]` has each object's name. Raises
        ImportError where supervision is not installed.
        """
        if find_spec("supervision") is None:
            raise ImportError("to_supervision() needs supervision: pip install supervision.")
        import supervision  # noqa: PLC0415 - an optional package

        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self._class_ids(),
            data={"class_name": np.array(self.names, dtype=np.str_)},
        )

    def to_coco(self, image_id: int = 1, *, first_id: int = 1) -> list[CocoAnnotation]:
        """Convert to COCO annotations, with the masks as COCO's run lengths.

        Args:
            image_id: the image's id in the dataset.
            first_id: the id of the first annotation; the next ones count up.

        Returns:
            One annotation per object. `category_id` is 1 for the first of `class_names`.
        """
        masks = [None] * len(self) if self._masks is None else self._masks
        return [
            coco_annotation(
                box,
                None if mask is None else coco_rle(mask),
                id=number,
                image_id=image_id,
                category_id=int(class_id) + 1,
                score=float(score),
            )
            for number, (class_id, score, box, mask) in enumerate(
                zip(self._class_ids(), self.scores, self.boxes, masks, strict=True), first_id
            )
        ]

    def _class_ids(self) -> NDArray[np.intp]:
        numbers = {name: number for number, name in enumerate(self.class_names)}
        return np.array([numbers[name] for name in self.names], np.intp)


def _presence(request: InferenceRequest, result: InferenceResult) -> dict[str, float] | None:
    if result.presence is None:
        return None
    pairs = zip(request.prompt.phrases, result.presence, strict=True)
    return {phrase.text: presence for phrase, presence in pairs if not phrase.negative}


def _objects(detections: Detections, masks: Sequence[Mask] | None) -> Iterator[DetectedObject]:
    for i, box in enumerate(detections.boxes):
        mask = None if masks is None else masks[i].full()
        yield DetectedObject(
            box, float(detections.scores[i]), detections.phrases[i], detections.labels[i], mask
        )
