"""Memory is given back by whoever owns it: nothing else of the process ever changes."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.errors import WeightsError
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Detector, Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Compute, trim_memory
from grounded_labeler.models.runtime.unloading import OpenFile, UnloadableModule, Weights, pick
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.model import Model
from tests.models.detectors.small_models import DEMO, noise
from tests.models.segmenters.sam_predictor import box_masks

pytestmark = pytest.mark.slow

MAPPINGS = Path("/proc/self/maps")
only_linux = pytest.mark.skipif(
    not MAPPINGS.is_file(), reason="other systems do not tell what is mapped"
)
ROUNDS, FEWER_ROUNDS = 20, 2  # with and without --soak
WAIT_S = 120  # for what takes a moment: only a fault lasts so long


def is_mapped(file: Path) -> bool:
    return str(file) in MAPPINGS.read_text(encoding="utf-8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Weights of `layer`, and others."""
    path = tmp_path / "model.safetensors"
    text = {f"text.{name}": value.clone() for name, value in layer().state_dict().items()}
    save_file({**text, "other.weight": torch.ones(3)}, path)
    return path


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 64).requires_grad_(False)


def unloadable(file: Path) -> UnloadableModule:
    return UnloadableModule(layer(), lambda: pick(load_file(file), {"text.": ""}))


def answer(unloading: UnloadableModule) -> float:
    with unloading.loaded() as module:
        # Rounded: where weights are not aligned as memory is, sums are made in another order.
        return round(float(module(torch.ones(1, 64)).sum()), 3)


@only_linux
def test_weights_are_let_go_of_and_read_again(file: Path) -> None:
    unloading = unloadable(file)
    expected = answer(unloading)
    for _ in range(3):
        assert answer(unloading) == expected
        for _ in range(2):
            unloading.release()
            trim_memory()
        assert not is_mapped(file)
    assert answer(unloading) == expected
    assert is_mapped(file)


def test_buffers_that_are_in_no_file_stay(file: Path) -> None:
    module = layer()
    module.register_buffer("numbers", torch.arange(5), persistent=False)
    unloading = UnloadableModule(module, lambda: pick(load_file(file), {"text.": ""}))
    unloading.release()
    with unloading.loaded() as again:
        assert again.get_buffer("numbers").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "read",
    [
        None,
        lambda: {},
        lambda: {"weight": torch.zeros(64, 64)},
        lambda: {"weight": torch.zeros(64, 64), "bias": torch.zeros(1)},
        lambda: {"weight": torch.zeros(64, 64), "bias": torch.zeros(64).half()},
    ],
    ids=["no file", "nothing", "a name less", "another shape", "another type"],
)
def test_weights_that_the_file_does_not_have_are_kept(read: Callable[[], Weights] | None) -> None:
    unloading = UnloadableModule(layer(), read)
    before = answer(unloading)
    unloading.release()
    assert answer(unloading) == before


def test_an_error_of_reading_again_reaches_who_asks_and_the_next_one_may_succeed(
    file: Path,
) -> None:
    unloading = unloadable(file)
    before = answer(unloading)
    unloading.release()
    moved = file.rename(file.with_suffix(".moved"))
    with pytest.raises(FileNotFoundError):
        answer(unloading)
    moved.rename(file)
    assert answer(unloading) == before


@only_linux
def test_an_open_file_is_read_as_it_was_whatever_takes_its_name(file: Path) -> None:
    opened = OpenFile(file)
    before = load_file(file)["text.bias"].clone()
    save_file({"text.bias": torch.zeros(64)}, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)
    assert torch.equal(load_file(opened.path)["text.bias"], before)
    file.unlink()
    assert torch.equal(load_file(opened.path)["text.bias"], before)


def graphs_of(model: Model, model_dir: Path) -> Path:
    return exports.export_dir(model, model_dir)


def demo_detector(exported: Path | None) -> Detector:
    return load_detector("transformers", DEMO, Options(exported=exported))


def copy_of_demo(folder: Path) -> Path:
    """The demo detector's files in a folder of their own, which no other test maps."""
    folder.mkdir()
    for file in DEMO.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def found_by(detector: Detector, image: DecodedImage) -> Candidates:
    [found] = detector.detect([image], [["red circle", "star"]])
    return found


def assert_same(found: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.peaks, expected.peaks)


@only_linux
def test_an_idle_detector_with_graphs_has_no_weights_mapped_and_needs_no_file(
    exported_demo: Path, tmp_path: Path
) -> None:
    weights = copy_of_demo(tmp_path / "weights")
    exported = graphs_of(DETECTORS["demo"], exported_demo)
    detector = load_detector("transformers", weights, Options(exported=exported))
    image = DecodedImage.of(noise(60, 80))
    before = found_by(detector, image)
    Pipeline(detector, None).release()
    # Of the graphs it is only what was read that goes: OpenVINO may read more.
    assert not is_mapped(weights / "model.safetensors")
    assert_same(found_by(detector, image), before)
    # As by fetching other weights while the service runs.
    (weights / "model.safetensors").unlink()
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
        graphs_of(kind["demo"], exported_demo) for kind in (DETECTORS, SEGMENTERS)
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


def test_weights_that_cannot_be_read_again_are_an_error_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = demo_detector(None)
    image = DecodedImage.of(noise(60, 80))
    before = found_by(detector, image)
    detector.release()

    def fails(_: Path) -> Weights:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr("grounded_labeler.models.hub_folder.load_file", fails)
        with pytest.raises(WeightsError, match=r"text encoder.*cannot be read again"):
            found_by(detector, image)
    assert_same(found_by(detector, image), before)


def test_memory_that_takes_the_place_of_weights_keeps_its_values(
    background: Callable[[Callable[[], object]], None], rounds: int
) -> None:
    """What was mapped is gone by the time it is told to go, and other memory is there."""
    file = DEMO / "model.safetensors"
    size = file.stat().st_size
    background(Pipeline(demo_detector(None), None).release)
    for number in range(rounds):
        weights = load_file(file)
        total = sum(float(value.sum()) for value in weights.values())
        assert np.isfinite(total)
        del weights
        arrays = [np.full(size // 8 // part, number, np.float64) for part in (1, 2, 4)]
        assert all((array == number).all() for array in arrays), number
