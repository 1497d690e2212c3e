"""What is asked of the same shapes again is recorded, and what is recorded answers the same.

What records is CUDA's: here the recording is one that computes on a CPU (tests/gpu has the true
one).
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from grounded_labeler.models.runtime.graph import ALWAYS_FP32, SubModel, Tensors
from grounded_labeler.models.runtime.pytorch import store_in
from grounded_labeler.models.runtime.recorded import Memory, Recorded, Recording
from tests.models.runtime.test_without_waiting import (
    DETECTORS,
    SEGMENTERS,
    detector_parts,
    for_gpu,
    sam3_parts,
    segmenter_parts,
)


class Replayed:
    """Stands in for a CUDA graph: computes again, into the same outputs."""

    def __init__(self, compute: Callable[..., Tensors], inputs: Tensors) -> None:
        self._compute, self._inputs = compute, inputs
        self.outputs = compute(*inputs)

    def replay(self) -> None:
        for place, new in zip(self.outputs, self._compute(*self._inputs), strict=True):
            place.copy_(new)


class OnACPU(Memory):
    """Records without a GPU; `room` is how many recordings there is memory for."""

    def __init__(self, room: int = 100) -> None:
        super().__init__()
        self.room, self.made = room, 0

    def record(self, compute: Callable[..., Tensors], inputs: Tensors) -> Recording:
        if self.made >= self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.made += 1
        kept = tuple(given.clone() for given in inputs)
        graph = Replayed(compute, kept)
        return Recording(graph, kept, graph.outputs)


def doubled(*inputs: Tensor) -> Tensors:
    return tuple(2 * one for one in inputs)


def ones(length: int, batch: int = 1, value: float = 1.0) -> Tensor:
    return torch.full((batch, length), value)


def test_the_second_time_is_recorded_and_each_run_has_outputs_of_its_own() -> None:
    memory = OnACPU()
    run = Recorded("test", doubled, memory)
    found = [run(ones(3, value=value))[0] for value in (1.0, 2.0, 3.0, 4.0)]
    assert memory.made == 1
    assert [one[0, 0].item() for one in found] == [2.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize(
    "others", [[ones(4)], [ones(3).half()], [ones(3, 2)], [ones(3), ones(3)]]
)  # fmt: skip
def test_shapes_kinds_and_counts_are_told_apart(others: list[Tensor]) -> None:
    memory = OnACPU()
    run = Recorded("test", doubled, memory)
    for _ in range(3):
        run(ones(3))
        out = run(*others)
        assert [one.shape for one in out] == [one.shape for one in others]
        assert [one.dtype for one in out] == [one.dtype for one in others]


def test_batches_of_several_are_never_recorded() -> None:
    memory = OnACPU()
    run = Recorded("test", doubled, memory)
    for _ in range(4):
        run(ones(3, batch=2))
    assert memory.made == 0


def test_those_asked_for_last_are_kept() -> None:
    memory = OnACPU()
    run = Recorded("test", doubled, memory, most=2)
    for length in (1, 2, 3):
        run(ones(length))
        run(ones(length))
    assert memory.made == 3
    run(ones(2))
    run(ones(3))
    assert memory.made == 3, "both are there"
    for _ in range(3):
        run(ones(1))
    assert memory.made == 4, "it was dropped for the third"


def test_what_is_released_is_recorded_anew() -> None:
    memory = OnACPU()
    run = Recorded("test", doubled, memory)
    for _ in range(3):
        run(ones(3))
    run.release()
    for _ in range(3):
        assert run(ones(3))[0].sum().item() == 6
    assert memory.made == 2


def test_without_memory_it_goes_on_kernel_by_kernel(caplog: pytest.LogCaptureFixture) -> None:
    memory = OnACPU(room=1)
    run = Recorded("fusion", doubled, memory)
    with caplog.at_level(logging.WARNING):
        for length in (1, 2):
            for _ in range(4):
                assert run(ones(length))[0].sum().item() == 2 * length
    assert memory.made == 1
    [warning] = [one.getMessage() for one in caplog.records]
    assert "The fusion runs kernel by kernel" in warning
    assert "CUDA out of memory" in warning
    memory.room = 5
    run(ones(1))
    assert memory.made == 1, "it does not try again"
    run.release()
    for _ in range(2):
        run(ones(1))
    assert memory.made == 2, "but when memory was given back"


@pytest.mark.parametrize("family", DETECTORS)
def test_weights_of_16_bits_change_no_answer_of_a_detector(family: str, tmp_path: Path) -> None:
    """Autocast makes the same of them in each run."""
    assert_stored_weights_are_the_same(detector_parts(family, tmp_path).graphs)


@pytest.mark.parametrize("family", SEGMENTERS)
def test_weights_of_16_bits_change_no_answer_of_a_segmenter(family: str) -> None:
    torch.manual_seed(0)
    assert_stored_weights_are_the_same(segmenter_parts(family))


def test_weights_of_16_bits_change_no_answer_of_sam_3(tmp_path: Path) -> None:
    assert_stored_weights_are_the_same(sam3_parts(tmp_path))


def assert_stored_weights_are_the_same(parts: Mapping[str, SubModel]) -> None:
    """Text encoders stay in float32: no part stores their weights otherwise."""

    def run(module: nn.Module, inputs: Tensors, *, exact: bool) -> Tensors:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=not exact),
        ):
            outputs: Tensors = module(*inputs)
        return outputs

    exact = {name: name in ALWAYS_FP32 for name in parts}
    inputs = {name: part.example() for name, part in parts.items()}
    modules = {
        name: for_gpu(part) if not part.waits else part.module for name, part in parts.items()
    }
    before = {
        name: run(module, inputs[name], exact=exact[name]) for name, module in modules.items()
    }
    for name, module in modules.items():
        if not exact[name]:
            store_in(torch.bfloat16, module)
            assert any(one.dtype == torch.bfloat16 for one in module.parameters())
    for name, module in modules.items():
        after = run(module, inputs[name], exact=exact[name])
        for one, other in zip(after, before[name], strict=True):
            assert torch.equal(one, other), name
