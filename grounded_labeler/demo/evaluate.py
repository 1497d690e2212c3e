"""How right the demo models are, on images they were not trained on: `make figures`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.inference import InferenceRequest, InferenceResult, SegmentRequest
from grounded_labeler.core.prompt import Prompt, parse_prompt
from grounded_labeler.core.tiling import Tiling, tiling_text
from grounded_labeler.core.types import Boxes, DecodedImage, Thresholds
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.demo import matching
from grounded_labeler.demo.clicking import correcting_click
from grounded_labeler.demo.matching import RIGHT_IOU
from grounded_labeler.demo.shapes import COLORS, KINDS, DrawnImage, draw_image
from grounded_labeler.demo.small_things import measure_small_things
from grounded_labeler.inference.loader import load_pipeline
from grounded_labeler.label_studio.thresholds import choose_thresholds
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import summarize

# Training draws its images from seeds 1 and 2.
UNSEEN_SEED = 20_000
SIZES_WH = [(320, 240), (240, 320), (256, 256), (640, 480), (480, 720), (1024, 768)]
# Of masks from clicks: what one click must reach, and what at most three corrections must.
CLICKED_IOU, CORRECTED_IOU, CORRECTIONS = 0.85, 0.92, 3
# The demo detector sees 240 pixels; what it was trained on fills a fifth of them.
_TILINGS = (None, Tiling(), Tiling(240), Tiling(200))


@dataclass(frozen=True)
class Figures:
    """Counts at IoU 0.5, and mean IoU of the boxes and masks that are right."""

    images: int
    right: int
    wrong: int
    missed: int
    box_iou: float
    mask_iou: float

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.right + self.missed, 1)


def demo_thresholds() -> Thresholds:
    """Return those of the demo models where nobody sets any."""
    settings = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})
    return choose_thresholds(settings, summarize(settings.choice, settings.model_dir)).thresholds


def measure(
    pipeline: Pipeline, images: int, seed: int = UNSEEN_SEED, tiling: Tiling | None = None
) -> Figures:
    """Ask for every colour+shape in an image and for one that is absent."""
    thresholds = demo_thresholds()
    right = wrong = missed = 0
    box_ious: list[float] = []
    mask_ious: list[float] = []
    for i in range(images):
        rng = np.random.default_rng(seed + i)
        image = draw_image(rng, SIZES_WH[i % len(SIZES_WH)])
        prompt = prompt_with_absent(rng, image)
        [found] = pipeline.run(
            [
                InferenceRequest(
                    DecodedImage.of(image.image),
                    prompt,
                    (),
                    thresholds,
                    with_masks=True,
                    tiling=tiling,
                )
            ]
        )
        pairs = match(found, image)
        right += len(pairs)
        wrong += len(found.detections) - len(pairs)
        missed += len(image.shapes) - len(pairs)
        for detection, shape, iou in pairs:
            box_ious.append(iou)
            if found.masks is not None:
                mask = found.masks[detection].full()
                mask_ious.append(mask_iou(mask, image.shapes[shape].mask))
    return Figures(
        images, right, wrong, missed, float(np.mean(box_ious)), float(np.mean(mask_ious))
    )


def measure_left_out(pipeline: Pipeline, images: int, seed: int = UNSEEN_SEED) -> float:
    """The share of shapes found by "red" that "red . -red star" leaves out, of red stars."""
    found_alone = left_out = 0
    limits = demo_thresholds()
    for i in range(images):
        image = draw_image(np.random.default_rng(seed + i), SIZES_WH[i % len(SIZES_WH)])
        unwanted = image.shapes[0]
        for word in (unwanted.color, unwanted.kind):
            prompts = (parse_prompt(text, []) for text in (word, f"{word} . -{unwanted.name}"))
            jobs = [
                InferenceRequest(DecodedImage.of(image.image), prompt, (), limits, with_masks=False)
                for prompt in prompts
            ]
            alone, without = pipeline.run(jobs)
            boxes = [shape.box for shape in image.named(unwanted.name)]
            seen = is_found(alone, np.array(boxes))
            found_alone += int(seen.sum())
            left_out += int((seen & ~is_found(without, np.array(boxes))).sum())
    return left_out / max(found_alone, 1)


@dataclass(frozen=True)
class ClickFigures:
    """The IoU of each shape's mask, float64 (N,): after one click, and at last corrected."""

    one_click: NDArray[np.float64]
    corrected: NDArray[np.float64]


def measure_clicks(pipeline: Pipeline, shapes: int, seed: int = UNSEEN_SEED) -> ClickFigures:
    """Click on the middle of a shape of each image, then correct the mask as an annotator does.

    At most three times, until the mask is right by `CORRECTED_IOU`.
    """
    first: list[float] = []
    last: list[float] = []
    for i in range(shapes):
        drawn = draw_image(np.random.default_rng(seed + i), SIZES_WH[i % len(SIZES_WH)])
        truth = drawn.shapes[i % len(drawn.shapes)].mask
        image, found = DecodedImage.of(drawn.image), np.zeros_like(truth)
        clicks: list[tuple[int, int, bool]] = []
        ious: list[float] = []
        while len(ious) <= CORRECTIONS and max(ious, default=0) < CORRECTED_IOU:
            clicks.append(correcting_click(found, truth))
            points = np.array([[click[:2] for click in clicks]], np.float32) + 0.5
            prompts = VisualPrompts(None, points, np.array([[click[2] for click in clicks]]))
            [result] = pipeline.run([SegmentRequest(image, prompts)])
            found = result.masks[0].full() if result.masks else np.zeros_like(truth)
            ious.append(mask_iou(found, truth))
        first.append(ious[0])
        last.append(max(ious))
    return ClickFigures(np.array(first), np.array(last))


def is_found(found: InferenceResult, boxes: Boxes) -> NDArray[np.bool_]:
    """Which of `boxes` (N, 4) some detection covers, whatever its phrase: bool (N,)."""
    covered = box_iou(found.detections.boxes, boxes) >= RIGHT_IOU
    return np.asarray(covered.any(axis=0))


def prompt_with_absent(rng: np.random.Generator, image: DrawnImage) -> Prompt:
    """The image's colour+shape phrases and one that names nothing in it, in random order."""
    present = {shape.name for shape in image.shapes}
    absent = [f"{c} {k}" for c in COLORS for k in KINDS if f"{c} {k}" not in present]
    phrases = [*sorted(present), str(rng.choice(absent))]
    rng.shuffle(phrases)
    return parse_prompt(" . ".join(phrases), [])


def match(found: InferenceResult, image: DrawnImage) -> list[tuple[int, int, float]]:
    """(detection, shape, IoU) of the right ones: each shape once, best score first."""
    truth = np.array([shape.box for shape in image.shapes], np.float32)
    return matching.match(
        found.detections, truth, lambda i, phrase: image.shapes[i].matches(phrase)
    )


def mask_iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table that stands in the demo models' card."""
    parser = parser_of("demo figures", __doc__ or "")
    parser.add_argument("--images", type=int, default=300)
    options = parser.parse_args(arguments)
    # With room for what a click leaves to the next one.
    settings = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})
    pipeline = load_pipeline(settings, ByteCache(settings.cache_bytes))
    figures = measure(pipeline, options.images)
    clicks = measure_clicks(pipeline, options.images)
    table = Table(title=f"Demo models on {figures.images} unseen images")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in (
        ("precision at IoU 0.5", figures.precision),
        ("recall at IoU 0.5", figures.recall),
        ("mean box IoU of those", figures.box_iou),
        ("mean mask IoU of those", figures.mask_iou),
        ("left out by a minus sign", measure_left_out(pipeline, options.images)),
        (f"one click, mask IoU >= {CLICKED_IOU}", np.mean(clicks.one_click >= CLICKED_IOU)),
        (
            f"at most {CORRECTIONS} corrections, mask IoU >= {CORRECTED_IOU}",
            np.mean(clicks.corrected >= CORRECTED_IOU),
        ),
    ):
        table.add_row(name, f"{value:.3f}")
    console = Console()
    console.print(table)
    console.print(_small_things(pipeline, max(1, options.images // 60)))


def _small_things(pipeline: Pipeline, images: int) -> Table:
    """How much of 30 small shapes in each of some large images is found, with tiles and without."""
    table = Table(title=f"30 shapes of 20 to 60 pixels in 4000x3000, {images} images")
    for column in ("tiles", "recall at IoU 0.5", "precision"):
        table.add_column(column, justify="left" if column == "tiles" else "right")
    for tiling in _TILINGS:
        figures = measure_small_things(pipeline, demo_thresholds(), tiling, images, UNSEEN_SEED)
        table.add_row(tiling_text(tiling), f"{figures.recall:.3f}", f"{figures.precision:.3f}")
    return table
