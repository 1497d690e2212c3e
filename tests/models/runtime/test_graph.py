from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY
from torch import Tensor, nn

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.runtime.choice import make_graphs
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.runtime.pytorch import lower_precision
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


def run_multiply(precision: Precision) -> tuple[Multiply, Tensors]:
    torch.manual_seed(0)
    module = Multiply()
    graphs = make_graphs(
        {"rows": SubModel(module, lambda: (torch.zeros(1, 64),))},
        Compute(precision=precision),
        None,
    )
    return module, graphs["rows"](torch.ones(3, 64))


@pytest.mark.parametrize(
    ("precision", "dtype", "atol"),
    [("fp32", torch.float32, 1e-6), ("bf16", torch.bfloat16, 2e-2), ("fp16", torch.float16, 2e-3)],
)
def test_torch_computes_in_the_precision_asked_for_and_answers_in_float32(
    precision: Precision, dtype: torch.dtype, atol: float
) -> None:
    module, (product, count) = run_multiply(precision)
    assert module.seen == [dtype]
    assert product.dtype == torch.float32
    assert count.dtype == torch.int64
    assert count == 3
    with torch.inference_mode():
        torch.testing.assert_close(product, module.layer(torch.ones(3, 64)), atol=atol, rtol=0)


def test_a_lower_precision_ends_with_its_block() -> None:
    with lower_precision("cpu", "bf16"):
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    with lower_precision("cpu", "fp32"):
        assert not torch.is_autocast_enabled("cpu")


def test_modules_are_run_as_in_evaluation_and_without_gradients() -> None:
    module, (product, _) = run_multiply("fp32")
    assert not module.training
    assert not product.requires_grad


def test_runs_are_counted_by_part() -> None:
    def runs() -> float:
        return REGISTRY.get_sample_value("grounded_labeler_model_runs_total", {"part": "rows"}) or 0

    before = runs()
    run_multiply("fp32")
    assert runs() == before + 1


def test_torch_is_used_where_nothing_was_exported(tmp_path: Path) -> None:
    parts = {"rows": SubModel(Multiply(), lambda: (torch.zeros(1, 64),))}
    (product, _) = make_graphs(parts, Compute(), tmp_path)["rows"](torch.ones(3, 64))
    assert product.shape == (3, 64)


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
