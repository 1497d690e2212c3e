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
from safetensors.torch import load_file
from torch import Tensor, nn

from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Detector, Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import Graphs, SubModel, Tensors
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
