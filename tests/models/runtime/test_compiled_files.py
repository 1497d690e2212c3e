"""A graph is compiled once for a CPU, and again only where what was kept is of no use."""

import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from torch import Tensor, nn

from grounded_labeler.models.runtime import openvino as runtime
from grounded_labeler.models.runtime.compiled_files import CompiledFile
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from tests.helpers.graphs import export_parts

pytestmark = pytest.mark.slow

ROWS = np.linspace(-1, 1, 3 * 64, dtype=np.float32).reshape(3, 64)


class Layers(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))

    def forward(self, rows: Tensor) -> Tensors:
        return (self.layers(rows),)


def export(folder: Path, seed: int = 0) -> None:
    part = SubModel(Layers(seed).eval(), lambda: (torch.zeros(3, 64),))
    export_parts({"fusion": part, "text": part}, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(tmp_path / "graphs")
    return tmp_path / "graphs"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what OpenVINO is asked for: to compile a graph, or to read a compiled one."""
    made: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        works = getattr(openvino.Core, name)

        def call(*args: Any) -> Any:
            made.append(name)
            return works(*args)

        return call

    for name in ("compile_model", "import_model"):
        monkeypatch.setattr(openvino.Core, name, counted(name))
    return made


def run(folder: Path, threads: int = 2, name: str = "fusion") -> np.ndarray:
    [found] = runtime.openvino_graphs([name], folder, Compute(threads=threads))[name](ROWS)
    return np.asarray(found)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "compiled").glob("*"))


def test_a_graph_is_compiled_once_and_then_read(folder: Path, calls: list[str]) -> None:
    first = run(folder)
    assert calls == ["compile_model"]
    [file] = kept(folder)
    assert file.stat().st_mode & 0o777 == 0o644
    np.testing.assert_array_equal(run(folder), first)
    np.testing.assert_array_equal(run(folder, threads=3), first)
    assert calls == ["compile_model", "import_model", "import_model"]
    assert kept(folder) == [file]


def test_text_is_not_kept(folder: Path, calls: list[str]) -> None:
    """Its weights would fill the disk a second time, and it compiles in a moment."""
    for _ in range(2):
        run(folder, name="text")
    assert calls == ["compile_model"] * 2
    assert kept(folder) == []


def flipped(content: bytes, place: float) -> bytes:
    """With one bit changed, at 0 the first and at 1 the last byte."""
    changed = bytearray(content)
    changed[round(place * (len(content) - 1))] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        *(partial(flipped, place=place) for place in (0.0, 0.25, 0.5, 0.75, 1.0)),
    ],
)
def test_a_damaged_file_is_made_again(
    folder: Path, calls: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = run(folder)
    [file] = kept(folder)
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(run(folder), first)
    assert calls == ["compile_model"] * 2
    np.testing.assert_array_equal(run(folder), first)
    assert calls[2:] == ["import_model"]


def test_what_openvino_cannot_read_is_made_again(
    folder: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(openvino.CompiledModel, "export_model", lambda _: io.BytesIO(b"of no use"))
        first = run(folder)
    np.testing.assert_array_equal(run(folder), first)
    assert calls == ["compile_model", "import_model", "compile_model"]
    np.testing.assert_array_equal(run(folder), first)
    assert calls[3:] == ["import_model"]


def test_another_graph_cpu_or_openvino_has_a_file_of_its_own(
    folder: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(folder)
    monkeypatch.setattr(runtime, "cpu_flags", lambda: "another")
    run(folder)
    monkeypatch.setattr(openvino, "get_version", lambda: "another")
    run(folder)
    assert calls == ["compile_model"] * 3
    assert len(kept(folder)) == 2, "the oldest is dropped"
    export(folder, seed=1)
    assert not np.array_equal(run(folder), first)


def test_a_folder_that_cannot_be_written_to_is_left_as_it_is(
    folder: Path, calls: list[str]
) -> None:
    (folder / "compiled").touch()  # no folder can be made: root may write to any that there is
    first = run(folder)
    np.testing.assert_array_equal(run(folder), first)
    assert calls == ["compile_model"] * 2
    assert (folder / "compiled").read_bytes() == b""


def test_another_folder_takes_them_where_that_of_the_graphs_may_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container: they would be compiled again at each start."""
    elsewhere, models = tmp_path / "data" / "compiled", tmp_path / "models"
    older, newer, other = (models / name for name in ("demo-sam-aaaa", "demo-sam-bbbb", "a-sam-cc"))
    for folder in (older, newer, other):
        folder.mkdir(parents=True)
        (folder / "encoder.xml").write_text(folder.name)
        (folder / "encoder.bin").touch()
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: models not in Path(path).parents and access(path, mode)
    )
    for folder in (older, other, newer):
        kept_there = CompiledFile(folder / "encoder.xml", (), elsewhere)
        assert kept_there.read() is None
        kept_there.write(folder.name.encode())
        content = kept_there.read()
        assert content is not None
        assert content[:] == folder.name.encode()
    assert not any((folder / "compiled").exists() for folder in (older, newer, other))
    assert {folder.name for folder in elsewhere.iterdir()} == {"demo-sam-bbbb", "a-sam-cc"}
    monkeypatch.undo()
    assert CompiledFile(newer / "encoder.xml", (), elsewhere).read() is None, "beside, where it may"


def test_those_beside_the_graphs_are_read_where_they_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `make weights` leaves them, in a folder that a container then mounts read-only."""
    graphs, elsewhere = tmp_path / "demo-sam-aaaa", tmp_path / "data" / "compiled"
    graphs.mkdir()
    for name in ("encoder.xml", "encoder.bin"):
        (graphs / name).touch()
    CompiledFile(graphs / "encoder.xml", (), elsewhere).write(b"beside")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != graphs)
    kept = CompiledFile(graphs / "encoder.xml", (), elsewhere)
    content = kept.read()
    assert content is not None
    assert content[:] == b"beside"
    assert not elsewhere.exists()
    kept.write(b"what the other was of no use for")
    content = kept.read()
    assert content is not None
    assert content[:] == b"what the other was of no use for"


def test_what_two_processes_made_of_one_graph_takes_the_place_of_one(tmp_path: Path) -> None:
    """They compile at once, and OpenVINO does not write the same bytes twice."""
    for name in ("graph.xml", "graph.bin"):
        (tmp_path / name).touch()
    other, graph = (CompiledFile(tmp_path / "graph.xml", (kind,)) for kind in ("bf16", "fp32"))
    other.write(b"of another precision")
    for content in (b"of one process", b"of the other"):
        graph.write(content)
    assert other.read() is not None
    assert len(list((tmp_path / "compiled").iterdir())) == 2


def test_the_newest_files_are_kept_and_no_others(tmp_path: Path) -> None:
    for name in ("graph.xml", "graph.bin", "other.xml", "other.bin"):
        (tmp_path / name).touch()
    CompiledFile(tmp_path / "other.xml", ()).write(b"of another graph")
    for number in range(4):
        CompiledFile(tmp_path / "graph.xml", (number,)).write(bytes([number]))
    for number in (2, 3):
        content = CompiledFile(tmp_path / "graph.xml", (number,)).read()
        assert content is not None
        assert content[:] == bytes([number])
    assert CompiledFile(tmp_path / "graph.xml", (1,)).read() is None
    assert CompiledFile(tmp_path / "other.xml", ()).read() is not None
