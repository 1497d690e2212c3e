"""What was read of mapped weights is given back, and nothing that was written is lost."""

import ctypes
import mmap
import re
import sys
from pathlib import Path

import pytest

from grounded_labeler.compute.mapped import forget_mapped_weights, unchanged_weights

only_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems do not tell what is mapped"
)

MIB = 2**20

SMAPS = """\
7f0000000000-7f0000004000 r--s 00000000 fe:00 1234                       /models/a b/fusion.bin
Size:                 16 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd sh mr mw me ms
7f0000010000-7f0000014000 rw-p 00001000 fe:00 1235                       /models/sam.pth
Anonymous:             4 kB
7f0000018000-7f000001c000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000020000-7f0000024000 rw-p 00001000 fe:00 1235                       /models/sam.pth
Anonymous:             0 kB
7f0000030000-7f0000034000 r-xp 00000000 fe:00 1236                       /usr/lib/libtorch.so
Anonymous:             0 kB
7f0000040000-7f0000044000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000050000-7f0000054000 rw-p 00000000 00:00 0                          [heap]
Anonymous:             0 kB
7f0000060000-7f0000064000 r--p 00000000 fe:00 1237                       /models/model.safetensors
Anonymous:             0 kB
"""


def test_weights_that_are_as_their_file_is_can_be_forgotten() -> None:
    assert [start for start, _ in unchanged_weights(SMAPS)] == [
        0x7F0000000000, 0x7F0000020000, 0x7F0000060000,
    ]  # fmt: skip
    assert {end - start for start, end in unchanged_weights(SMAPS)} == {0x4000}


def test_no_mappings_are_none() -> None:
    assert list(unchanged_weights("")) == []


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights of a model.bin"
    file.write_bytes(b"grounded" * (MIB // 8) * 8)
    return file


def resident_mib(file: Path) -> float:
    """How much of a mapped file this process holds."""
    text = Path("/proc/self/smaps").read_text(encoding="utf-8")
    held = re.search(rf"{re.escape(str(file))}\nSize:.*?^Rss: +(\d+) kB", text, re.S | re.M)
    assert held, "not mapped"
    return int(held[1]) / 1024


@only_linux
def test_what_was_read_is_not_held_any_more(weights: Path) -> None:
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = bytes(mapped)
        assert resident_mib(weights) == 8
        forget_mapped_weights()
        assert resident_mib(weights) == 0
        assert bytes(mapped) == before


@only_linux
def test_what_was_written_to_a_mapping_stays(weights: Path) -> None:
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        assert bytes(mapped[:8]) == b"grounded"
        mapped[MIB] = 0
        forget_mapped_weights()
        assert mapped[MIB] == 0


def test_nothing_is_done_where_the_system_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        """A C library without madvise."""

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    forget_mapped_weights()
