"""Weights mapped from their files: a process can do without what it has read of them."""

import ctypes
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

_MAPPINGS = Path("/proc/self/smaps")
_WEIGHTS = (".bin", ".pth", ".pt", ".safetensors")
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) [-rwxps]{4} [0-9a-f]+ [0-9a-f:]+ \d+ *(.*)")


def forget_mapped_weights() -> None:
    """Take what was read of mapped weights out of this process's memory, on Linux.

    The text encoder is read again for the next prompt, from the system's cache of files,
    and the graphs of OpenVINO never: they have copies, made for the CPU.
    """
    # Other systems have neither the function nor the file.
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is None or not _MAPPINGS.is_file():
        return
    for start, end in unchanged_weights(_MAPPINGS.read_text(encoding="utf-8", errors="replace")):
        advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def unchanged_weights(mappings: str) -> Iterator[tuple[int, int]]:
    """First address and end of each mapping of a file of weights that is as the file is.

    `mappings` is what Linux writes into smaps. What was written to a mapping is in none
    of its files and would be lost, so such a mapping is left alone.
    """
    weights: tuple[int, int] | None = None
    for line in mappings.splitlines():
        header = _HEADER.fullmatch(line)
        if header:
            is_weights = header[3].endswith(_WEIGHTS)
            weights = (int(header[1], 16), int(header[2], 16)) if is_weights else None
        elif weights and line.startswith("Anonymous:") and int(line.split()[1]) == 0:
            yield weights
