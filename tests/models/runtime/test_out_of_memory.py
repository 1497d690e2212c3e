"""Every way a model runs out of memory is one error, and what it held is free again."""

import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from grounded_labeler.errors import GroundedLabelerError, OutOfMemory
from grounded_labeler.models.runtime.device import Compute, visible_cores
from grounded_labeler.models.runtime.graph import SubModel
from grounded_labeler.models.runtime.openvino import openvino_graphs
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from tests.helpers.graphs import export_parts

CUDA_TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4 GiB."


def on_the_gpu() -> None:
    raise torch.OutOfMemoryError(CUDA_TEXT)


def pinning() -> None:
    raise torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be ...")


def cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def on_windows() -> None:
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to ...")


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        pytest.param(on_the_gpu, "CUDA out of memory", id="torch, GPU"),
        pytest.param(pinning, "CUDA error: out of memory", id="CUDA, pinned memory"),
        pytest.param(cublas, "CUBLAS_STATUS_ALLOC_FAILED", id="CUDA, cuBLAS"),
        pytest.param(
            lambda: torch.empty(2**60, dtype=torch.uint8), "can't allocate memory", id="torch, CPU"
        ),
        pytest.param(on_windows, "not enough memory", id="torch, CPU, elsewhere"),
        pytest.param(lambda: np.empty(2**60, np.uint8), "Unable to allocate", id="numpy"),
        pytest.param(lambda: bytearray(2**60), "^MemoryError$", id="python"),
    ],
)
def test_all_become_one_error_that_keeps_the_reason(
    fails: Callable[[], object], message: str
) -> None:
    with pytest.raises(OutOfMemory, match=message) as caught, translate_memory_errors():
        fails()
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("selected index k out of range"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        ValueError("DefaultCPUAllocator: can't allocate memory"),
        OutOfMemory("said already"),
    ],
)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translate_memory_errors():
        raise error
    assert caught.value is error
    assert error.__cause__ is None


def test_one_image_is_let_fail_like_any_other_failure_of_the_models() -> None:
    # A GroundedLabelerError would fail the whole request.
    assert not issubclass(OutOfMemory, GroundedLabelerError)


def test_what_the_model_held_is_free_before_the_gpu_s_cache_is_emptied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    freed: list[bool] = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: freed.append(all(ref() is None for ref in held))
    )

    def layer() -> None:
        activations = torch.zeros(4)
        held.append(weakref.ref(activations))
        on_the_gpu()

    @translate_memory_errors()
    def model() -> None:
        features = torch.zeros(4)
        held.append(weakref.ref(features))
        layer()

    with pytest.raises(OutOfMemory):
        model()
    assert len(held) == 2
    assert freed == [True]


class Outer(torch.nn.Module):
    """Every product of two vectors: of long ones more than any memory holds."""

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor]:
        return (one[:, None] * other[None],)


@pytest.mark.skipif(visible_cores() == 1, reason="OpenVINO is not used on a single core")
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_runs_out_of_memory_and_goes_on(tmp_path: Path, threads: int) -> None:
    part = SubModel(Outer(), lambda: (torch.ones(2), torch.ones(3)))
    export_parts({"outer": part}, tmp_path / "graphs")
    graph = openvino_graphs(["outer"], tmp_path / "graphs", Compute(threads=threads))["outer"]
    two, long = np.array([1, 2], np.float32), np.ones(2**18, np.float32)  # a product of 256 GiB
    for _ in range(2):
        with pytest.raises(OutOfMemory, match="Failed to allocate"), translate_memory_errors():
            graph(long, long)
        # Not of the sizes that failed.
        for other in ([3.0], [1.0, 2.0], [1.0, 2.0, 3.0]):
            [product] = graph(two, np.array(other, np.float32))
            assert product.tolist() == [other, [2 * value for value in other]]
