from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from torch import Tensor, nn

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.runtime import choice
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.graph import Array, Arrays, Graphs, SubModel, Tensors
from grounded_labeler.models.runtime.pytorch import lower_precision
from tests.helpers.graphs import make_graphs
from tests.models.detectors.samples import best_boxes, sample
from tests.models.detectors.small_models import DEMO


class Multiply(nn.Module):
    """Rows of 64 by one matrix, and a count of the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)
        self.seen: list[torch.dtype] = []

    def forward(self, rows: Tensor) -> Tensors:
        product = self.layer(rows)
        self.seen.append(product.dtype)
        return product, torch.tensor(len(rows))


def run_multiply(precision: Precision) -> tuple[Multiply, Arrays]:
    torch.manual_seed(0)
    module = Multiply()
    graphs = make_graphs(
        {"rows": SubModel(module, lambda: (torch.zeros(1, 64),))},
        Compute(precision=precision),
        None,
    )
    return module, graphs["rows"](np.ones((3, 64), np.float32))


@pytest.mark.parametrize(
    ("precision", "dtype", "atol"),
    [("fp32", torch.float32, 1e-6), ("bf16", torch.bfloat16, 2e-2), ("fp16", torch.float16, 2e-3)],
)
def test_torch_computes_in_the_precision_asked_for_and_answers_in_float32(
    precision: Precision, dtype: torch.dtype, atol: float
) -> None:
    module, (product, count) = run_multiply(precision)
    assert module.seen == [dtype]
    assert product.dtype == np.float32
    assert count.dtype == np.int64
    assert count == 3
    with torch.inference_mode():
        expected = module.layer(torch.ones(3, 64)).numpy()
    np.testing.assert_allclose(product, expected, atol=atol, rtol=0)


def test_a_lower_precision_ends_with_its_block() -> None:
    with lower_precision("cpu", "bf16"):
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    with lower_precision("cpu", "fp32"):
        assert not torch.is_autocast_enabled("cpu")


def test_modules_are_run_as_in_evaluation_and_without_gradients() -> None:
    module, (product, _) = run_multiply("fp32")
    assert not module.training
    assert isinstance(product, np.ndarray), "with gradients it could not be one"


def test_runs_are_counted_by_part() -> None:
    def runs() -> float:
        return REGISTRY.get_sample_value("grounded_labeler_model_runs_total", {"part": "rows"}) or 0

    before = runs()
    run_multiply("fp32")
    assert runs() == before + 1


def test_torch_is_used_where_nothing_was_exported(tmp_path: Path) -> None:
    parts = {"rows": SubModel(Multiply(), lambda: (torch.zeros(1, 64),))}
    (product, _) = make_graphs(parts, Compute(), tmp_path)["rows"](np.ones((3, 64), np.float32))
    assert product.shape == (3, 64)


def test_text_is_encoded_in_float32_whatever_the_precision() -> None:
    module = Multiply()
    parts = {"text": SubModel(module, lambda: (torch.zeros(1, 64),))}
    graphs = make_graphs(parts, Compute(precision="bf16"), None)
    graphs["text"](np.ones((3, 64), np.float32))
    assert module.seen == [torch.float32]


@pytest.mark.parametrize(
    "rows", [np.ones((3, 64), np.float32)[::-1], np.broadcast_to(np.float32(1), (3, 64))]
)
def test_torch_takes_any_array(rows: NDArray[np.float32]) -> None:
    parts = {"rows": SubModel(Multiply(), lambda: (torch.zeros(1, 64),))}
    graph = make_graphs(parts, Compute(), None)["rows"]
    expected, _ = graph(np.ones((3, 64), np.float32))
    np.testing.assert_array_equal(graph(rows)[0], expected)


ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("as_made", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_arrays_are_joined_and_parted_along_the_batch(as_made: Callable[..., Array]) -> None:
    rows = [as_made(ROWS[place : place + 1]) for place in range(3)]
    joined = Graphs.stack(rows)
    assert type(joined) is type(rows[0])
    np.testing.assert_array_equal(Graphs.to_numpy(joined), ROWS)
    assert Graphs.stack(rows[:1]) is rows[0]

    parted = Graphs.split((joined, joined[:, :2]))
    assert len(parted) == 3
    for place, (one, other) in enumerate(parted):
        np.testing.assert_array_equal(Graphs.to_numpy(one), ROWS[place : place + 1])
        np.testing.assert_array_equal(Graphs.to_numpy(other), ROWS[place : place + 1, :2])
    joined[:] = 0
    assert Graphs.to_numpy(parted[2][0]).any(), "a copy of its own"
    single = (rows[0],)
    assert Graphs.split(single) == [single]


def test_without_torch_and_without_graphs_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"no graphs .* PyTorch, .* `make weights`") as caught:
        choice.find_exported(["rows"], Compute(), tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_core_without_torch_uses_the_graphs_and_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("facts.json", "rows.xml"):
        (tmp_path / name).touch()
    monkeypatch.setattr(choice, "visible_cores", lambda: 1)
    assert choice.find_exported(["rows"], Compute(), tmp_path) is None
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    assert choice.find_exported(["rows"], Compute(), tmp_path) == tmp_path
    assert "a second core" in caplog.text


def test_the_demo_detector_finds_the_same_in_bf16(truth: dict[str, Any]) -> None:
    full = load_detector("transformers", DEMO, Options())
    half = load_detector("transformers", DEMO, Options(Compute(precision="bf16")))
    image, names = sample("wide.jpg", truth)
    ((one,), (other,)) = (detector.detect([image], [names]) for detector in (full, half))
    assert other.boxes.dtype == other.peaks.dtype == np.float32
    assert np.isfinite(other.boxes).all()
    assert np.isfinite(other.peaks).all()
    assert not np.array_equal(one.boxes, other.boxes), "bf16 must have been used"
    assert np.diag(box_iou(best_boxes(one), best_boxes(other))).min() > 0.9
    np.testing.assert_allclose(other.peaks.max(axis=0), one.peaks.max(axis=0), atol=0.1)
