"""Several annotators at once, beside one client of the reference."""

from collections.abc import Callable
from functools import partial

from benchmarks.clients import at_once
from benchmarks.gpu.measuring import Notes, in_turns, peak_mib, reset_peak
from benchmarks.gpu.prompts import COUNT, SIZES_WH, size_name
from benchmarks.gpu.results import Record, judged
from benchmarks.gpu.sides import NO_REFERENCE, Sides
from benchmarks.reference import Reference
from benchmarks.timing import WHOLE
from grounded_labeler.images.decode import decode

CLIENTS = (1, 4, 16)
TABLE = "Images a second, each of a client of its own"
GOAL_TIMES = 4.0
_ROUNDS = 5
_PROMPT = "cat . dog"
REFERENCE = "reference"


def measure_clients(sides: Sides, notes: Notes) -> None:
    """Note boxes alone and boxes with masks, in the precision of a service by default."""
    size_wh, precision = SIZES_WH[0], sides.precisions[0]
    if sides.reference is None:
        notes.left_out("the reference", NO_REFERENCE)
    ours = sides.ours(precision)
    for masks in (True, False):
        what = "boxes and masks" if masks else "boxes"
        if not notes.has_time_for(what):
            continue

        def ask(clients: int, masks: bool = masks) -> float:
            images = [sides.new_image(size_wh) for _ in range(clients)]
            return at_once(ours, images, masks=masks, count=COUNT)

        calls: dict[str, Callable[[], float]] = {
            str(clients): partial(ask, clients) for clients in CLIENTS
        }
        if sides.reference is not None:
            calls[REFERENCE] = _reference_call(sides, sides.reference, masks=masks)
        reset_peak(sides.device)
        found = in_turns(calls, sides.rounds(_ROUNDS), notes.budget)
        peak = peak_mib(sides.device)
        for clients in CLIENTS:
            if str(clients) not in found:
                notes.left_out(f"{clients} clients, {what}")
                continue
            seconds = found[str(clients)].value
            theirs = found[REFERENCE].value if REFERENCE in found else None
            times = theirs and theirs / seconds
            record: Record = {
                "image": size_name(size_wh),
                "clients": clients,
                "request": what,
                "computed in": precision,
                "images a second": 1 / seconds,
                "one client of the reference": theirs and 1 / theirs,
                "times": times,
                "peak MiB, all sides": peak,
            }
            if sides.device == "cuda" and clients == CLIENTS[-1] and times is not None:
                goal = f"{GOAL_TIMES:g} times one client of the reference"
                record = judged(record, goal, reached=times >= GOAL_TIMES)
            notes.record(TABLE, record)


def _reference_call(sides: Sides, reference: Reference, *, masks: bool) -> Callable[[], float]:
    name = sides.album.new(SIZES_WH[0])
    threshold = reference.threshold(decode(sides.album[name]), _PROMPT, COUNT)
    url = f"{sides.address}/{name}"

    def whole() -> float:
        return reference.whole(url, _PROMPT, threshold, with_masks=masks).seconds[WHOLE]

    return whole
