"""What a GPU computes is what the packages compute, and nothing in it waits for the device.

There is no GPU here: tensors that only have a shape and a device stand in for those of one. They
hold no values, so whatever looks at one fails, and what copies between devices is seen.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from grounded_labeler.models.detectors import huggingface_build, official
from grounded_labeler.models.detectors.parts import Parts
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.runtime.without_waiting import MadeOnDevice
from grounded_labeler.models.sam3 import build as sam3_build
from grounded_labeler.models.segmenters import mobile_sam_build, sam, sam2, sam_build
from tests.models.detectors.small_models import (
    DEMO,
    FAMILIES,
    save_tiny,
    save_vocabulary,
    small_model,
)
from tests.models.sam3.small_models import save_small
from tests.models.segmenters.small_models import small_model as small_sam2

DETECTORS = ["package", *FAMILIES]
PARTS = ["backbone", "text", "fusion"]
SEGMENTERS = ["mobile-sam", "demo", "sam2", "edgetam"]


def detector_parts(family: str, folder: Path) -> Parts:
    if family == "package":
        return official.split(small_model(save_vocabulary(folder)))
    return huggingface_build.load(save_tiny(folder / family, family))


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Parts]:
    """Makes the parts anew: what is made for a GPU cannot be used otherwise."""
    return lambda family: detector_parts(family, tmp_path_factory.mktemp("small"))


def segmenter_parts(family: str) -> Mapping[str, SubModel]:
    if family == "mobile-sam":
        return sam.split(mobile_sam_build.build_mobile_sam().eval())
    if family == "demo":  # a ViT, as the published SAMs
        return sam.split(sam_build.load_model(DEMO.parent / "segmenter"))
    return sam2.split(small_sam2(family))


def sam3_parts(folder: Path) -> Mapping[str, SubModel]:
    save_small(folder / "sam3")
    return sam3_build.load(folder / "sam3").graphs


def for_gpu(part: SubModel) -> nn.Module:
    assert not part.waits
    return (part.module if part.for_gpu is None else part.for_gpu()).eval()


class Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each operation that brings something from one device to another."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.crossed: list[str] = []

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        seen = list(tensors_in([args, kwargs or {}, out]))
        if len({one.device.type for one in seen}) > 1:
            self.crossed.append(str(function))
        return out


def tensors_in(values: Any) -> Any:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from tensors_in(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)


def run_without_a_card(module: nn.Module, inputs: Tensors) -> tuple[list[str], Tensors]:
    """Run on a GPU that is not there; return what crossed between devices, and the outputs."""
    fake = FakeTensorMode()

    def moved(tensor: Tensor) -> FakeTensor:
        there = fake.from_tensor(tensor)
        return FakeTensor(fake, torch.empty_like(there, device="meta"), torch.device("cuda"))

    held: dict[str, Tensor] = {
        name: moved(one) for name, one in [*module.named_parameters(), *module.named_buffers()]
    }
    given = tuple(moved(one) for one in inputs)
    watched = Watched()
    with fake, watched, torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16):
        outputs = functional_call(module, held, given)
    return watched.crossed, outputs


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("family", DETECTORS)
def test_a_detector_waits_for_nothing(
    detectors: Callable[[str], Parts], family: str, part: str
) -> None:
    made = detectors(family).graphs[part]
    inputs = made.example()
    crossed, outputs = run_without_a_card(for_gpu(made), inputs)
    assert crossed == []
    assert all(one.device.type == "cuda" for one in outputs)


@pytest.mark.parametrize("family", SEGMENTERS)
def test_a_segmenter_waits_for_nothing(family: str) -> None:
    for name, made in segmenter_parts(family).items():
        crossed, _ = run_without_a_card(for_gpu(made), made.example())
        assert crossed == [], name


def test_what_of_sam_3_waits(tmp_path: Path) -> None:
    for name, made in sam3_parts(tmp_path).items():
        inputs = made.example()
        if made.waits:
            with pytest.raises(RuntimeError, match="_local_scalar_dense"):
                run_without_a_card(made.module, inputs)
        else:
            crossed, _ = run_without_a_card(for_gpu(made), inputs)
            assert crossed == [], name


@pytest.mark.parametrize("family", DETECTORS)
def test_the_packages_do_wait(detectors: Callable[[str], Parts], family: str) -> None:
    """Else the tests above would prove nothing."""
    made = detectors(family).graphs["fusion"]
    inputs = made.example()
    try:
        crossed, _ = run_without_a_card(made.module.eval(), inputs)
    except RuntimeError as error:
        # A constant that would be copied there, or a value that is asked for.
        assert re.search("NVIDIA driver|_local_scalar_dense", str(error))
    else:
        assert crossed


@pytest.mark.parametrize("family", DETECTORS)
def test_the_fusion_of_a_gpu_answers_as_the_packages(
    detectors: Callable[[str], Parts], family: str
) -> None:
    made = detectors(family).graphs["fusion"]
    inputs = made.example()
    with torch.inference_mode():
        boxes, scores = made.module(*inputs)
        other_boxes, other_scores = for_gpu(made)(*inputs)
    torch.testing.assert_close(other_scores, scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(other_boxes, boxes, atol=1e-5, rtol=0)


def test_small_constants_are_made_where_they_are_for() -> None:
    fake, watched = FakeTensorMode(), Watched()
    with fake, watched, MadeOnDevice():
        number = torch.tensor(7, device="cuda")
        sizes = torch.as_tensor([(3, 4), (2, 2)], dtype=torch.long, device="cuda")
    assert (number.dtype, number.shape) == (torch.long, ())
    assert (sizes.dtype, tuple(sizes.shape)) == (torch.long, (2, 2))
    assert watched.crossed == []
    with MadeOnDevice():
        assert torch.as_tensor([(3, 4)]).tolist() == [[3, 4]]
