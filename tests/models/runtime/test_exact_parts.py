"""Parts that stay in float32 under autocast, and what they are good for.

Autocast on the CPU stands for a GPU's: both compute products in 16 bits.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from benchmarks.agreement import WANTED, demo_folder, demo_jobs, pairs
from grounded_labeler.core.inference import InferenceResult
from grounded_labeler.models.detectors import Options, from_parts, huggingface_build, official
from grounded_labeler.models.detectors.parts import Parts
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime import exact_parts, pytorch
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.exact_parts import PARTS, is_exact, keep_exact
from grounded_labeler.models.segmenters import sam, sam2
from tests.models.detectors.small_models import FAMILIES, save_tiny, save_vocabulary, small_model
from tests.models.segmenters import small_models as segmenters
from tests.models.segmenters.test_sam import tiny_sam

pytestmark = pytest.mark.slow

PACKAGE, PACKAGE_OWN = "groundingdino", "the package's own"
IMAGES = 200


@pytest.fixture(scope="module", params=[PACKAGE, *FAMILIES])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def parts(family: str, tmp_path: Path) -> Parts:
    if family == PACKAGE:
        return official.split(small_model(save_vocabulary(tmp_path)))
    return huggingface_build.load(save_tiny(tmp_path, family))


def named(parts: Parts) -> dict[str, nn.Module]:
    """The exact parts by the names of their graph and their own, without what is inside them."""
    return {
        f"{graph} {name}": module
        for graph, part in parts.graphs.items()
        for name, module in part.module.named_modules()
        if is_exact(name) and not is_exact(name.rpartition(".")[0])
    }


def keep(parts: Parts) -> None:
    for part in parts.graphs.values():
        keep_exact(part.module)


def run(parts: Parts) -> list[Tensor]:
    """The outputs of backbone and fusion for the inputs that they are traced with."""
    torch.manual_seed(0)
    with torch.inference_mode():
        return [
            out
            for part in (parts.graphs["backbone"], parts.graphs["fusion"])
            for out in part.module(*part.example())
        ]


def test_every_part_is_in_every_family(parts: Parts, family: str) -> None:
    names = [name for part in parts.graphs.values() for name, _ in part.module.named_modules()]
    there = {part for part, pattern in PARTS.items() if any(re.search(pattern, n) for n in names)}
    expected = set(PARTS) if family == PACKAGE else set(PARTS) - {PACKAGE_OWN}
    assert there == expected


def test_nothing_but_what_is_named_and_what_that_holds_is_exact() -> None:
    assert is_exact("transformer.enc_output")
    assert is_exact("model.model.decoder.bbox_embed.0.layers.2")
    for other in ("transformer.enc_output_norm", "bert.project.0", "model.bbox_embed", "", "swin"):
        assert not is_exact(other), other


@pytest.mark.parametrize("family", segmenters.FAMILIES)
def test_segmenters_have_no_exact_parts(family: str) -> None:
    parts = [*sam2.split(segmenters.small_model(family)).values(), *sam.split(tiny_sam()).values()]
    assert not any(is_exact(name) for part in parts for name, _ in part.module.named_modules())


def test_weights_names_and_answers_in_float32_stay_as_they_are(parts: Parts) -> None:
    before = run(parts)
    states = {name: part.module.state_dict() for name, part in parts.graphs.items()}
    names = {name: dict(part.module.named_modules()) for name, part in parts.graphs.items()}
    keep(parts)
    keep(parts)
    for name, part in parts.graphs.items():
        assert dict(part.module.named_modules()) == names[name]
        assert part.module.state_dict().keys() == states[name].keys()
    for module in named(parts).values():
        assert type(module).__mro__.count(exact_parts._Exact) == 1
    for one, other in zip(run(parts), before, strict=True):
        assert torch.equal(one, other)


@contextmanager
def watched(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, tuple[Any, Any, Any]]]:
    """While open, each run of the modules leaves its inputs and its output under its name."""
    runs: dict[str, tuple[Any, Any, Any]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            runs[name] = args, kwargs, out

        return hook

    hooks = [
        module.register_forward_hook(note(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    yield runs
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_exact_parts_compute_in_float32_under_autocast(parts: Parts, half: torch.dtype) -> None:
    modules = named(parts)
    with watched(modules) as runs, torch.autocast("cpu", dtype=half):
        run(parts)
    lowered = {
        name for name, (_, _, out) in runs.items() if half in {one.dtype for one in flat(out)}
    }
    assert lowered, "autocast lowers what is not kept exact"
    keep(parts)
    with watched(modules) as runs, torch.autocast("cpu", dtype=half):
        run(parts)
    assert lowered <= runs.keys()
    for name, (args, kwargs, out) in runs.items():
        assert all(one.dtype == torch.float32 for one in flat(out)), name
        with torch.inference_mode():
            again = modules[name](*in_float32(args), **in_float32(kwargs))
        assert all(map(torch.equal, flat(again), flat(out))), name


def flat(given: Any) -> list[Tensor]:
    """The tensors in what a module returns."""
    if isinstance(given, Tensor):
        return [given]
    return [one for part in given for one in flat(part)] if isinstance(given, tuple) else []


def in_float32(given: Any) -> Any:
    if isinstance(given, Tensor):
        return given.float() if given.is_floating_point() else given
    if isinstance(given, dict):
        return {key: in_float32(value) for key, value in given.items()}
    return tuple(map(in_float32, given)) if isinstance(given, tuple) else given


def found_in(precision: Precision, *, exact: bool) -> list[InferenceResult]:
    """What the demo detector finds on the CPU, without masks."""
    parts = huggingface_build.load(demo_folder("detector"))
    keeps = keep_exact if exact else lambda _: None
    with mock.patch.object(pytorch, "keep_exact", keeps):
        detector = from_parts(parts, Options(Compute("cpu", precision)))
    jobs = [replace(job, with_masks=False) for job in demo_jobs(IMAGES)]
    return Pipeline(detector, None).run(jobs)


def share(expected: Sequence[InferenceResult], found: Sequence[InferenceResult]) -> float:
    """The share of boxes that are the same on both sides, by the rule of `agreement`."""
    boxes = same = 0
    for one, other in zip(expected, found, strict=True):
        mine, theirs = one.detections, other.detections
        boxes += max(len(mine), len(theirs))
        same += len(pairs((mine.boxes, mine.scores), (theirs.boxes, theirs.scores)))
    assert boxes > 2 * IMAGES
    return same / boxes


def test_boxes_of_half_precision_are_those_of_float32_and_fewer_would_be_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = found_in("fp32", exact=False)
    kept = share(expected, found_in("fp16", exact=True))
    monkeypatch.setattr(exact_parts, "_EXACT", re.compile("(?!)"))
    lowered = share(expected, found_in("fp16", exact=False))
    assert kept >= WANTED
    assert lowered < kept
