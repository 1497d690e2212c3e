"""Memory is given back by whoever owns it: nothing else of the process ever changes."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as ops
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.machine import resident_bytes
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Detector, Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.compiled_files import CompiledFile
from grounded_labeler.models.runtime.device import Compute, trim_memory
from grounded_labeler.models.runtime.graph import Graphs, SubModel, Tensors
from grounded_labeler.models.runtime.openvino import openvino_graphs
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from tests.helpers.graphs import export_parts, make_graphs
from tests.models.detectors.small_models import DEMO, noise
from tests.models.segmenters.sam_predictor import box_masks

pytestmark = pytest.mark.slow

ROUNDS, FEWER_ROUNDS = 20, 2  # with and without --soak
WAIT_S = 120  # for what takes a moment: only a fault lasts so long


class Layer(nn.Module):
    """Rows of 64 by one matrix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 64)

    def forward(self, rows: Tensor) -> Tensors:
        return (self.layer(rows),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two graphs: one that keeps its weights while it is idle, and one that drops them."""
    part = SubModel(Layer().eval(), lambda: (torch.zeros(3, 64),))
    export_parts({"fusion": part, "text": part}, tmp_path / "graphs")
    return tmp_path / "graphs"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each graph that OpenVINO compiles."""
    calls: list[int] = []
    compile_model = openvino.Core.compile_model

    def counted(core: openvino.Core, *args: Any) -> Any:
        calls.append(1)
        return compile_model(core, *args)

    monkeypatch.setattr(openvino.Core, "compile_model", counted)
    return calls


def load(folder: Path) -> Graphs:
    parts = dict.fromkeys(("fusion", "text"), SubModel(Layer(), tuple))
    return make_graphs(parts, Compute(threads=2), folder)


def sums(graphs: Graphs) -> list[float]:
    rows = np.ones((2, 64), np.float32)
    return [float(Graphs.to_numpy(graphs[name](rows)[0]).sum()) for name in ("fusion", "text")]


def test_text_alone_is_compiled_again_when_it_is_used_again(
    folder: Path, compiled: list[int]
) -> None:
    graphs = load(folder)
    expected = sums(graphs)
    assert len(compiled) == 2
    for round_ in range(3):
        graphs.release()
        graphs.release()
        assert len(compiled) == 2 + round_, "released, nothing is compiled"
        assert sums(graphs) == sums(graphs) == expected
        assert len(compiled) == 3 + round_


@pytest.mark.parametrize("become", ["gone", "replaced"])
def test_graphs_are_compiled_again_as_they_were_whatever_became_of_their_files(
    folder: Path, become: str
) -> None:
    graphs = load(folder)
    expected = sums(graphs)
    shutil.rmtree(folder)
    if become == "replaced":
        part = SubModel(nn.ReLU(), lambda: (torch.zeros(3, 64),))
        export_parts({"fusion": part, "text": part}, folder)
    graphs.release()
    assert sums(graphs) == expected


SIDE, AT_ONCE = 1024, 64


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    """A graph with a loop: it doubles rows of 1,024 numbers, 64 rows at a time."""
    rows = ops.parameter([-1, SIDE], np.float32)
    some = ops.parameter([AT_ONCE, SIDE], np.float32)
    doubled = ops.result(ops.multiply(some, ops.constant(np.float32(2))))
    loop = ops.tensor_iterator()
    loop.set_function(openvino.Model([doubled], [some]))
    loop.set_sliced_input(some, rows.output(0), 0, AT_ONCE, AT_ONCE, -1, 0)
    groups = loop.get_concatenated_slices(doubled.output(0), 0, AT_ONCE, AT_ONCE, -1, 0)
    # Its output has a row: what is measured is what the loop holds, and not the output.
    graph = openvino.Model([ops.reduce_sum(groups, ops.constant([0]))], [rows])
    openvino.serialize(graph, tmp_path / "loops.xml")
    return tmp_path


def run_loops(graph: Callable[..., Any], count: int) -> None:
    [sums] = graph(np.ones((count, SIDE), np.float32))
    assert (sums == 2 * count).all()


def test_what_a_loop_held_is_given_back(loops: Path) -> None:
    if resident_bytes() is None:
        pytest.skip("only Linux tells what a process holds")
    graph = openvino_graphs(["loops"], loops, Compute(threads=2))["loops"]

    def at_rest() -> int:
        graph.release()
        trim_memory()
        return resident_bytes() or 0

    run_loops(graph, AT_ONCE)
    before = at_rest()
    for _ in range(3):
        run_loops(graph, 2**15)  # takes 128 MiB and gives as much
        assert at_rest() - before < 32 * 2**20


@pytest.mark.parametrize("kept", [True, False])
def test_a_graph_with_a_loop_is_read_again_once_after_it_ran_where_it_is_kept(
    loops: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[int], *, kept: bool
) -> None:
    graph = openvino_graphs(["loops"], loops, Compute(threads=2))["loops"]
    if not kept:
        shutil.rmtree(loops / "compiled")
    read: list[int] = []
    import_model = openvino.Core.import_model

    def counted(core: openvino.Core, *args: Any) -> Any:
        read.append(1)
        return import_model(core, *args)

    monkeypatch.setattr(openvino.Core, "import_model", counted)
    for round_ in range(3):
        graph.release()
        graph.release()
        assert len(read) == (round_ if kept else 0)
        run_loops(graph, AT_ONCE)
    assert len(compiled) == 1


def test_a_graph_that_cannot_be_read_again_is_when_it_runs(
    loops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = openvino_graphs(["loops"], loops, Compute(threads=2))["loops"]
    run_loops(graph, AT_ONCE)

    def fail(_: CompiledFile) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(CompiledFile, "read", fail)
        with pytest.raises(MemoryError):
            graph.release()
    graph.release()
    run_loops(graph, AT_ONCE)


def demo_detector(exported: Path | None) -> Detector:
    return load_detector("transformers", DEMO, Options(exported=exported))


def found_by(detector: Detector, image: DecodedImage) -> Candidates:
    [found] = detector.detect([image], [["red circle", "star"]])
    return found


def assert_same(found: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.peaks, expected.peaks)


def test_an_idle_detector_with_graphs_needs_no_file(exported_demo: Path, tmp_path: Path) -> None:
    exported = shutil.copytree(
        exports.export_dir(DETECTORS["demo"], exported_demo), tmp_path / "exported"
    )
    detector = demo_detector(exported)
    image = DecodedImage.of(noise(60, 80))
    before = found_by(detector, image)
    # As by fetching other weights while the service runs.
    shutil.rmtree(exported)
    for _ in range(2):
        Pipeline(detector, None).release()
        assert_same(found_by(detector, image), before)


@pytest.fixture(scope="module")
def rounds(*, soak: bool) -> int:
    return ROUNDS if soak else FEWER_ROUNDS


@pytest.fixture
def background() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Calls a function over and over on a thread, until the test ends; its error fails the test."""
    stop, failed = threading.Event(), []
    threads = []

    def repeat(work: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                work()
        except Exception as error:  # noqa: BLE001 - raised where the test ends
            failed.append(error)

    def start(work: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=repeat, args=(work,), daemon=True))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert failed == []


def test_loading_idling_and_answering_side_by_side_change_no_value(
    exported_demo: Path, background: Callable[[Callable[[], object]], None], rounds: int
) -> None:
    """Where memory of others was zeroed, arrays held wrong values or the process died."""
    graphs, segmenter_graphs = (
        exports.export_dir(kind["demo"], exported_demo) for kind in (DETECTORS, SEGMENTERS)
    )
    image, box = DecodedImage.of(noise(60, 80)), np.array([[5, 5, 40, 50]], np.float32)
    by_graphs, by_torch = demo_detector(graphs), demo_detector(None)
    segmenter = load_segmenter(
        "sam", SEGMENTERS["demo"].folder(exported_demo), Compute(), exported=segmenter_graphs
    )
    expected = {detector: found_by(detector, image) for detector in (by_graphs, by_torch)}
    [mask] = box_masks(segmenter, image, box)
    file = DEMO / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}

    def load_and_drop() -> None:
        for name, value in load_file(file).items():
            assert torch.equal(value, weights[name]), name

    def load_a_detector() -> None:
        assert_same(found_by(demo_detector(graphs), image), expected[by_graphs])

    def fill_arrays() -> None:
        filled = [np.full(2**16, number, np.float64) for number in range(16)]
        assert all((array == number).all() for number, array in enumerate(filled))

    def ask(_: int) -> None:
        for detector, candidates in expected.items():
            assert_same(found_by(detector, image), candidates)
        [again] = box_masks(segmenter, image, box)
        assert np.array_equal(again.full(), mask.full())

    idle = Pipeline(by_graphs, segmenter).release, Pipeline(by_torch, None).release
    for work in (*idle, load_and_drop, load_a_detector, fill_arrays):
        background(work)
    with ThreadPoolExecutor(2) as clients:
        list(clients.map(ask, range(rounds)))
