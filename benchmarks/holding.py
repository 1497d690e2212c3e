"""A process that answers requests and then says what it holds: `python -m benchmarks.holding`.

Nothing of the other side is imported.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.asking import Album, body, config
from benchmarks.full_size import make_models
from benchmarks.images import serving
from grounded_labeler.images.decode import decode
from grounded_labeler.models.runtime.device import Compute

if TYPE_CHECKING:
    from benchmarks.ours import Ours

OURS, BOXES, MASKS = "ours", "example-boxes", "example-masks"
_SIZE_WH, _COUNT, _PROMPT = (640, 480), 10, "cat . dog"
_CLIENTS = 16
_REQUESTS = 3  # to the example, one after the other; with several at once it would hold more


def main(what: str, threads: int) -> None:
    """Print the bytes held, as JSON."""
    machine.pin_threads(threads)
    album = Album()
    with serving(album) as address:
        ours = _asked_ours(album, address, threads) if what == OURS else None
        example = None if ours else _asked_example(album, address, with_masks=what == MASKS)
        held = {"resident": machine.resident_bytes(), "peak": machine.peak_resident_bytes()}
        if ours is not None:
            ours.pipeline.release()  # as the service does after a minute without a request
        held["idle"] = machine.resident_bytes()
        del ours, example
    sys.stdout.write(f"{json.dumps(held)}\n")


def _asked_ours(album: Album, address: str, threads: int) -> "Ours":
    from benchmarks.ours import Ours  # noqa: PLC0415

    ours = Ours.load(make_models(), Compute(threads=threads))
    ours.pipeline.warm_up()
    requests = [
        body([f"{address}/{album.new(_SIZE_WH)}"], _PROMPT, config(_COUNT, masks=True))
        for _ in range(_CLIENTS)
    ]
    with ThreadPoolExecutor(_CLIENTS) as clients:
        list(clients.map(ours.post, requests))
    return ours


def _asked_example(album: Album, address: str, *, with_masks: bool) -> object:
    from benchmarks.reference import Reference  # noqa: PLC0415

    reference = Reference.load(make_models(), with_masks=with_masks)
    name = album.new(_SIZE_WH)
    threshold = reference.threshold(decode(album[name]), _PROMPT, _COUNT)
    for _ in range(_REQUESTS):
        reference.whole(f"{address}/{name}", _PROMPT, threshold, with_masks=with_masks)
    return reference


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
