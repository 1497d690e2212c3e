"""How a first prompt grows: with the image, the boxes, the phrases and the tasks."""

import statistics
from collections.abc import Callable
from functools import partial

from benchmarks.asking import Request, body, config, prompt_of
from benchmarks.bench import Bench
from benchmarks.images import SIZES_WH
from benchmarks.ours import Ours, Served
from benchmarks.report import Record
from benchmarks.timing import WHOLE, Seconds

BOXES, PHRASES, TASKS = (1, 10, 50, 100), (1, 5, 20, 60), (1, 4, 8)
_SIZE_WH, _COUNT, _PHRASES = (640, 480), 10, 2
_ROUNDS = 2
_MASKS = ("segment-encode", "segment-decode", "mask resize")

Make = Callable[[int], Request]


def measure(bench: Bench) -> list[Record]:
    """A record for each image size and number, all else at 640x480, 10 boxes, 2 phrases."""

    def request(
        turn: int,
        size_wh: tuple[int, int] = _SIZE_WH,
        boxes: int = _COUNT,
        phrases: int = _PHRASES,
        tasks: int = 1,
    ) -> Request:
        images = [bench.new_image(size_wh) for _ in range(tasks)]
        return body(images, prompt_of(phrases, turn), config(boxes, masks=True))

    rows: list[tuple[str, str, Make]] = [
        *(("image", f"{size[0]}x{size[1]}", partial(request, size_wh=size)) for size in SIZES_WH),
        *(("boxes", str(count), partial(request, boxes=count)) for count in BOXES),
        *(("phrases", str(count), partial(request, phrases=count)) for count in PHRASES),
        *(("tasks", str(count), partial(request, tasks=count)) for count in TASKS),
    ]
    if bench.is_quick:
        rows = [(what, value, make) for what, value, make in rows if value in ("640x480", "1", "5")]
    records = []
    for what, value, make in rows:
        bench.say(f"growth, {what}: {value}")
        rounds = min(bench.rounds, _ROUNDS)
        records.append(measured(bench.ours, what, value, make, rounds))
    return records


def measured(ours: Ours, what: str, value: str, make: Make, rounds: int = _ROUNDS) -> Record:
    """The median of some rounds, after one that only warms up; each asks another prompt."""
    ours.ask(make(0))
    served = [ours.ask(make(turn)) for turn in range(1, rounds + 1)]
    stages = [_summed(one) for one in served]
    return {"grows with": what, "value": value} | {
        f"{name}, s": statistics.median(one[name] for one in stages) for name in stages[0]
    }


def _summed(served: Served) -> Seconds:
    seconds = served.seconds
    return {
        "detect": seconds["detect"],
        "masks": sum(seconds.get(stage, 0.0) for stage in _MASKS),
        "RLE": seconds.get("RLE", 0.0),
        WHOLE: seconds[WHOLE],
        f"{WHOLE} per task": seconds[WHOLE] / len(served.regions),
    }
