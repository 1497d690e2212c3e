"""Clicks: the first on a new image, and those that refine its mask, at random places.

Ours is the whole request, for which the image is fetched again each time. The reference is what
`segment_anything.SamPredictor` computes for the same clicks on the same weights, of an image
that it was handed decoded and into a mask that nobody encodes.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from segment_anything import SamPredictor

from benchmarks.asking import Request, config, request
from benchmarks.bench import Bench
from benchmarks.full_size import MOBILE_SAM, VIT_B, load_sam, make_models
from benchmarks.images import SIZES_WH
from benchmarks.ours import Ours
from benchmarks.report import Row, rows
from benchmarks.timing import WHOLE, Seconds, Stopwatch, alternating
from grounded_labeler.core.types import RGBImage
from grounded_labeler.images.decode import decode
from tests.helpers.drawing import click

FIRST, FURTHER, P95 = "first click", "further clicks", f"{WHOLE}, 95 %"
_CLICKS, _BUSY_CLICKS = 21, 5  # on each image
_PAUSE_S = 2.0  # an annotator looks at a mask for up to so long before the next click
_BESIDE_WH, _BESIDE_COUNT = (640, 480), 10
_CONFIG = config(1, masks=True)


@dataclass(frozen=True, eq=False)
class Clicks:
    """Clicks on one object, oldest first: `xy` in percent, (N, 2), and which are on it, (N,)."""

    xy: NDArray[np.float64]
    are_positive: NDArray[np.bool_]

    @classmethod
    def draw(cls, count: int, seed: int) -> "Clicks":
        """Anywhere on the image; the first one is on the object, and half of the others."""
        rng = np.random.default_rng(seed)
        xy, are_positive = rng.uniform(0, 100, (count, 2)), rng.random(count) < 0.5
        are_positive[0] = True
        return cls(xy, are_positive)

    def requests(self, image: str) -> list[Request]:
        """One for each click; those before it are sent along."""
        drawn = [
            click(x, y, positive=positive, label="Thing")
            for (x, y), positive in zip(self.xy.tolist(), self.are_positive.tolist(), strict=True)
        ]
        return [request([image], _CONFIG, drawn[: n + 1]) for n in range(len(drawn))]


def measure(bench: Bench) -> list[Row]:
    """The rows of each segmenter and size: one annotator alone, sixteen, pre-annotation beside."""
    table: list[Row] = []
    for segmenter in (MOBILE_SAM,) if bench.is_quick else (MOBILE_SAM, VIT_B):
        folders = make_models(segmenter=segmenter)
        ours = bench.ours if segmenter == MOBILE_SAM else Ours.load(folders, bench.compute)
        predictor = SamPredictor(load_sam(folders.segmenter).to(bench.compute.device).eval())
        for size_wh in SIZES_WH[:1] if bench.is_quick else SIZES_WH:
            name = f"{segmenter}, {size_wh[0]}x{size_wh[1]}"
            bench.say(f"clicks, {name}")
            table += alone(bench, ours, predictor, name, size_wh)
            if not bench.is_quick:
                table += busy(bench, ours, f"{name}, 16 annotators", size_wh, annotators=16)
                table += busy(bench, ours, f"{name}, pre-annotation beside", size_wh, beside=True)
    return table


def alone(
    bench: Bench,
    ours: Ours,
    predictor: Any,  # noqa: ANN401 - segment_anything is untyped
    name: str,
    size_wh: tuple[int, int],
    *,
    count: int = _CLICKS,
) -> list[Row]:
    """What each stage of the clicks of one annotator takes, ours and the reference in turns."""
    clicks = Clicks.draw(count, seed=0)
    image = decode(bench.album[bench.album.new(size_wh)])

    def ask_ours() -> list[Seconds]:
        requests = clicks.requests(bench.new_image(size_wh))
        return [ours.ask(one).seconds for one in requests]

    def ask_reference() -> list[Seconds]:
        return predict(predictor, image, clicks, bench.compute.device)

    ask_ours(), ask_reference()
    return _told(name, *alternating(ask_ours, ask_reference, bench.rounds))


def busy(
    bench: Bench,
    ours: Ours,
    name: str,
    size_wh: tuple[int, int],
    *,
    annotators: int = 1,
    beside: bool = False,
    count: int = _BUSY_CLICKS,
    pause_s: float = _PAUSE_S,
) -> list[Row]:
    """The clicks of several annotators, each on images of their own, or `beside` pre-annotation.

    Each waits up to `pause_s` seconds before a click. Many annotators have one image each; one
    has as many as there are rounds.
    """

    def annotate(seed: int) -> list[Seconds]:
        rng, taken = np.random.default_rng(seed), list[Seconds]()
        for one in Clicks.draw(count, seed).requests(bench.new_image(size_wh)):
            time.sleep(rng.uniform(0, pause_s))
            start = time.perf_counter()
            ours.post(one)
            taken.append({WHOLE: time.perf_counter() - start})
        return taken

    images = bench.rounds if annotators == 1 else annotators
    with (
        preannotation(bench, ours) if beside else nullcontext(),
        ThreadPoolExecutor(annotators) as pool,
    ):
        return _told(name, list(pool.map(annotate, range(images))), [])


@contextmanager
def preannotation(bench: Bench, ours: Ours) -> Iterator[None]:
    """While open, new images are pre-annotated, one after the other."""
    done = threading.Event()

    def preannotate() -> None:
        label_config = config(_BESIDE_COUNT, masks=True)
        while True:
            ours.post(request([bench.new_image(_BESIDE_WH)], label_config))
            if done.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(preannotate)
        try:
            yield
        finally:
            done.set()
        running.result()


def predict(
    predictor: Any,  # noqa: ANN401 - segment_anything is untyped
    image: RGBImage,
    clicks: Clicks,
    device: str,
) -> list[Seconds]:
    """What SamPredictor takes for each click; each refines the mask of those before it."""
    height, width = image.shape[:2]
    points, kinds = clicks.xy / 100 * (width, height), clicks.are_positive.astype(int)
    taken, earlier = list[Seconds](), None
    for count in range(1, len(points) + 1):
        watch = Stopwatch(device)
        with watch.whole(), watch.calls(predictor.model, "postprocess_masks", "mask resize"):
            if count == 1:
                with watch.stage("segment-encode"):
                    predictor.set_image(image)
            with watch.stage("segment-decode"):
                _, scores, logits = predictor.predict(
                    points[:count],
                    kinds[:count],
                    mask_input=earlier,
                    multimask_output=count == 1,
                )
        earlier = logits[scores.argmax()][None]
        taken.append(watch.seconds)
    return taken


def _told(
    name: str, ours: Sequence[Sequence[Seconds]], theirs: Sequence[Sequence[Seconds]]
) -> list[Row]:
    """The medians of first clicks and of all further ones, and what 95 % of them are within."""
    table: list[Row] = []
    for what, part in ((FIRST, slice(1)), (FURTHER, slice(1, None))):
        own, reference = ([one for image in side for one in image[part]] for side in (ours, theirs))
        case = f"{name}: {what}"
        table += [*rows(case, own, reference), Row(case, P95, _p95(own), _p95(reference))]
    return table


def _p95(taken: Sequence[Seconds]) -> float | None:
    return float(np.quantile([one[WHOLE] for one in taken], 0.95)) if taken else None
