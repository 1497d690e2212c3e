"""Several annotators at once, each with an image of their own and the same prompt."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.asking import body, config
from benchmarks.bench import Bench
from benchmarks.ours import Ours
from benchmarks.report import Row
from benchmarks.stages import PROMPT
from benchmarks.timing import WHOLE
from grounded_labeler.images.decode import decode

CLIENTS = (1, 4, 16)
STAGE = "seconds per image"
_SIZE_WH, _COUNT = (640, 480), 10


def measure(bench: Bench) -> list[Row]:
    """A row for each number of clients, boxes and masks; the reference answers one client."""
    table = []
    for masks in (False, True):
        threshold = bench.reference.threshold(
            decode(bench.album[bench.album.new(_SIZE_WH)]), PROMPT, _COUNT
        )
        _, *theirs = [  # the first one only warms up
            bench.reference.whole(
                bench.new_image(_SIZE_WH), PROMPT, threshold, with_masks=masks
            ).seconds[WHOLE]
            for _ in range(bench.rounds + 1)
        ]
        for clients in CLIENTS[:2] if bench.is_quick else CLIENTS:
            what = "masks" if masks else "boxes"
            name = f"{clients} client{'s' if clients > 1 else ''}, {what}"
            bench.say(name)
            at_once(bench.ours, [bench.new_image(_SIZE_WH)], masks=masks)
            # Many clients are a mean already.
            seconds = [
                at_once(
                    bench.ours,
                    [bench.new_image(_SIZE_WH) for _ in range(clients)],
                    masks=masks,
                )
                for _ in range(bench.rounds if clients == 1 else 1)
            ]
            reference = statistics.median(theirs) if clients == 1 else None
            table.append(Row(name, STAGE, statistics.median(seconds), reference))
    return table


def at_once(ours: Ours, images: list[str], *, masks: bool, count: int = _COUNT) -> float:
    """Seconds per image when each is asked about by a client of its own, all at once."""
    label_config = config(count, masks=masks)
    requests = [body([image], PROMPT, label_config) for image in images]
    with ThreadPoolExecutor(len(requests)) as clients:
        start = time.perf_counter()
        answers = list(clients.map(ours.post, requests))
        seconds = time.perf_counter() - start
    found = [len(regions) for answer in answers for regions in answer]
    if found != [count] * len(images):
        raise RuntimeError(f"{count} objects were to be found in each image, got {found}.")
    return seconds / len(images)
