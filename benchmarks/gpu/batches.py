"""The detector alone, with 1 to 16 images in a batch."""

from functools import partial

from benchmarks.gpu.measuring import Notes, in_turns, peak_mib, reset_peak, wall_milliseconds
from benchmarks.gpu.prompts import SIZES_WH, size_name
from benchmarks.gpu.sides import Sides
from benchmarks.images import draw
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.detectors import Detector
from grounded_labeler.models.runtime.device import Precision

BATCHES = (1, 2, 4, 8, 16)
TABLE = "Images a second at the detector, resizing included"
_ROUNDS = 5
_PHRASES = ("cat", "dog")


def measure_batches(sides: Sides, notes: Notes) -> None:
    """Note each size of image, precision and size of batch."""
    sizes = SIZES_WH[:1] if sides.is_small else SIZES_WH
    for size_wh in sizes:
        images = [DecodedImage.of(draw(size_wh, seed)) for seed in range(BATCHES[-1])]
        for precision in sides.precisions:
            if notes.has_time_for(f"{size_name(size_wh)}, {precision}"):
                _measure(sides, notes, images, precision)


def _measure(sides: Sides, notes: Notes, images: list[DecodedImage], precision: Precision) -> None:
    detector: Detector = sides.detector(precision, BATCHES[-1])
    peaks: dict[int, float | None] = {}

    def detect(count: int) -> float:
        reset_peak(sides.device)
        took = wall_milliseconds(
            sides.device, lambda: detector.detect(images[:count], [_PHRASES] * count)
        )
        peaks[count] = peak_mib(sides.device)
        return took / count

    height, width = images[0].pixels.shape[:2]
    calls = {str(count): partial(detect, count) for count in BATCHES}
    found = in_turns(calls, sides.rounds(_ROUNDS), notes.budget)
    for count in BATCHES:
        if str(count) not in found:
            notes.left_out(f"{size_name((width, height))}, {precision}, {count} in a batch")
            continue
        notes.record(
            TABLE,
            {
                "image": size_name((width, height)),
                "computed in": precision,
                "images in a batch": count,
                "images a second": 1000 / found[str(count)].value,
                "times one by one": found["1"].value / found[str(count)].value,
                "rounds": found[str(count)].rounds,
                "peak MiB": peaks[count],
            },
        )
