"""What one annotator waits for: a first prompt, another one, another threshold."""

import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.asking import body, config
from benchmarks.gpu.measuring import Figure, Notes, in_turns, wall_milliseconds
from benchmarks.gpu.results import Record, judged
from benchmarks.gpu.sides import NO_REFERENCE, Sides
from benchmarks.ours import Ours
from grounded_labeler.images.decode import decode
from grounded_labeler.models.runtime.device import Precision

# 640x480 is seen by the detector as 800x1066.
SIZES_WH = ((640, 480), (1920, 1080), (4000, 3000))
COUNT = 10
FIRST, FIRST_BOXES = "first prompt, boxes and masks", "first prompt, boxes"
SECOND, THRESHOLD = "second prompt, boxes and masks", "new threshold, boxes and masks"
REFERENCE, REFERENCE_BOXES = "reference, boxes and masks", "reference, boxes"
TABLE = "Milliseconds until the answer is there"
STAGES = "Stages of a first prompt, each waited for"
GOAL_MS, GOAL_TIMES = 30.0, 3.0
_ROUNDS = 7
_PROMPT = "cat . dog"
_OTHER_THRESHOLD = 1e-6
Call = Callable[[], float]


def measure_prompts(sides: Sides, notes: Notes) -> None:
    """Note every size in every precision, beside the reference where there is one."""
    if sides.reference is None:
        notes.left_out("the reference", NO_REFERENCE)
    took = 0.0
    for size_wh in SIZES_WH[:1] if sides.is_small else SIZES_WH:
        name = size_name(size_wh)
        if not notes.has_time_for(f"{name} and larger", took):
            return
        start = time.time()
        _measure_size(sides, notes, size_wh)
        took = time.time() - start
        for precision in sides.precisions[:1]:
            _note_stages(sides, notes, size_wh, precision)


def size_name(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"


def _measure_size(sides: Sides, notes: Notes, size_wh: tuple[int, int]) -> None:
    calls: dict[tuple[str, str], Call] = {}
    for number, precision in enumerate(sides.precisions):
        for what, call in _ours_calls(sides, size_wh, sides.ours(precision)).items():
            calls[precision, what] = call
        if not number:  # beside what a service takes by default, should time run out
            for what, call in _reference_calls(sides, size_wh).items():
                calls["fp32", what] = call
    named = {" ".join(key): call for key, call in calls.items()}
    found = in_turns(named, sides.rounds(_ROUNDS), notes.budget)
    for key in calls:
        if " ".join(key) not in found:
            notes.left_out(f"{size_name(size_wh)}, {' '.join(key)}")
    figures = {key: found[" ".join(key)] for key in calls if " ".join(key) in found}
    for record in _records(sides, size_wh, figures):
        notes.record(TABLE, record)


def _ours_calls(sides: Sides, size_wh: tuple[int, int], ours: Ours) -> dict[str, Call]:
    """The calls in the order in which they follow each other on one image."""
    last: dict[str, str] = {}

    def first(*, masks: bool) -> float:
        last["image"] = sides.new_image(size_wh)
        return _ask(sides, ours, last["image"], sides.new_prompt(), masks=masks)

    def second() -> float:
        last["prompt"] = sides.new_prompt()
        return _ask(sides, ours, last["image"], last["prompt"])

    def threshold() -> float:
        return _ask(sides, ours, last["image"], last["prompt"], threshold=_OTHER_THRESHOLD)

    return {
        FIRST_BOXES: partial(first, masks=False),
        FIRST: partial(first, masks=True),
        SECOND: second,
        THRESHOLD: threshold,
    }


def _ask(
    sides: Sides, ours: Ours, image: str, prompt: str, *, masks: bool = True, threshold: float = 0.0
) -> float:
    request = body([image], prompt, config(COUNT, masks=masks, threshold=threshold))
    return wall_milliseconds(sides.device, lambda: ours.post(request))


def _reference_calls(sides: Sides, size_wh: tuple[int, int]) -> dict[str, Call]:
    reference = sides.reference
    if reference is None:
        return {}
    name = sides.album.new(size_wh)
    threshold = reference.threshold(decode(sides.album[name]), _PROMPT, COUNT)
    url = f"{sides.address}/{name}"

    def whole(*, masks: bool) -> float:
        ask = partial(reference.whole, url, _PROMPT, threshold, with_masks=masks)
        return wall_milliseconds(sides.device, ask)

    return {
        REFERENCE: partial(whole, masks=True),
        REFERENCE_BOXES: partial(whole, masks=False),
    }


def _records(
    sides: Sides, size_wh: tuple[int, int], found: dict[tuple[str, str], Figure]
) -> Iterator[Record]:
    """A row for each call of ours, with the goals that it has."""
    for (precision, what), figure in found.items():
        if what in (REFERENCE, REFERENCE_BOXES):
            continue
        took = figure.value
        theirs = found.get(("fp32", REFERENCE_BOXES if what == FIRST_BOXES else REFERENCE))
        whole = None if theirs is None else theirs.value
        record: Record = {
            "image": size_name(size_wh),
            "request": what,
            "computed in": precision,
            "ours, ms": took,
            "reference, ms": whole,
            "times faster": whole and whole / took,
            "rounds": figure.rounds,
            "of the reference": theirs and theirs.rounds,
        }
        is_first = what in (FIRST, FIRST_BOXES) and precision == sides.precisions[0]
        if sides.device == "cuda" and is_first and size_wh == SIZES_WH[0]:
            reached = took < GOAL_MS and (whole is None or whole / took >= GOAL_TIMES)
            goal = f"under {GOAL_MS:g} ms, {GOAL_TIMES:g} times the reference"
            record = judged(record, goal, reached=reached)
        yield record


def _note_stages(
    sides: Sides, notes: Notes, size_wh: tuple[int, int], precision: Precision
) -> None:
    request = body([sides.new_image(size_wh)], sides.new_prompt(), config(COUNT, masks=True))
    for stage, seconds in sides.ours(precision).ask(request).seconds.items():
        notes.record(
            STAGES,
            {
                "image": size_name(size_wh),
                "computed in": precision,
                "stage": stage,
                "ms": seconds * 1000,
            },
        )
