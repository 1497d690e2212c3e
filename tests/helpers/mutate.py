"""Decode mutated images in a process of its own and print how much memory that took.

    python -m tests.helpers.mutate FILES_FOLDER ROUNDS MAX_PIXELS

Prints decoded, refused, and the growth of the peak resident memory in bytes.
"""

import random
import resource
import sys
import warnings
from pathlib import Path

from grounded_labeler.errors import ImageError
from grounded_labeler.images.decode import decode


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def mutated(file: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, most of them in the headers; now and then cut short or doubled."""
    data = bytearray(file)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(min(len(data), chance.choice((64, 256, len(data)))))
        data[place] = chance.choice((0, 1, 127, 255, chance.randrange(256)))
    if chance.random() < 0.1:
        del data[chance.randrange(len(data)) :]
    if chance.random() < 0.05:
        data *= 2
    return bytes(data)


def main(folder: Path, rounds: int, max_pixels: int) -> None:
    warnings.simplefilter("ignore")
    chance = random.Random(17)
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    for file in files:  # loads each codec once
        decode(file, max_pixels=max_pixels)
    decoded, before = 0, peak_bytes()
    for _ in range(rounds):
        for file in files:
            try:
                decode(mutated(file, chance), max_pixels=max_pixels)
                decoded += 1
            except ImageError:
                pass
    print(decoded, rounds * len(files) - decoded, peak_bytes() - before)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
