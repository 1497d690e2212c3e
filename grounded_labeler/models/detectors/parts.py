"""Grounding DINO split into its stages: image encoder, text encoder, fusion."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from grounded_labeler.models.detectors.facts import DetectorFacts
from grounded_labeler.models.detectors.text_inputs import TextInputs, plain
from grounded_labeler.models.runtime.graph import SubModel, Tensors

# Height and width in pixels of the image that the graphs are traced with: in every stage of
# every Swin a side is odd and no multiple of the window, so the trace holds the padding steps.
TRACED_HW = (244, 292)
_MEASURED_SIDE = 128  # pixels; the coarsest level, of stride 64, has 2 x 2 cells of it
TRACED_CAPTION = "a red cat . dog ."


@dataclass(frozen=True, eq=False)
class Parts:
    """The stages of one detection model, of torch.

    Attributes:
        facts: what its graphs have to be fed with.
        tokenizer: the text encoder's tokenizer.
        graphs: "backbone", from pixels (B, 3, h, w) to one tensor a level; "text", from ids,
            attention and positions of `TextInputs` to float32 (B, T, D); and "fusion", from
            the levels, the encoded text, its mask, positions and attention to boxes (B, Q, 4)
            and token scores (B, Q, T).
    """

    facts: DetectorFacts
    tokenizer: Tokenizer
    graphs: Mapping[str, SubModel]


def parts_of(
    facts: DetectorFacts,
    tokenizer: Tokenizer,
    *,
    backbone: nn.Module,
    text: nn.Module,
    fusion: nn.Module,
    fusion_on_gpu: Callable[[], nn.Module],
) -> Parts:
    """Put modules in evaluation mode together, with the inputs that they are traced with.

    `fusion_on_gpu` makes of `fusion` the one for GPUs, as `SubModel.for_gpu` says.
    """
    inputs = TextInputs.of([TRACED_CAPTION], plain(tokenizer), facts.delimiters)
    ids, mask, attention, positions = (
        torch.from_numpy(one)
        for one in (inputs.ids, inputs.mask, inputs.attention, inputs.positions)
    )

    def for_fusion() -> Tensors:
        [encoded] = text(ids, attention, positions)
        return (*backbone(*traced_pixels()), encoded, mask, positions, attention)

    graphs = {
        "backbone": SubModel(backbone, traced_pixels),
        "text": SubModel(text, lambda: (ids, attention, positions)),
        "fusion": SubModel(fusion, for_fusion, for_gpu=fusion_on_gpu),
    }
    return Parts(facts, tokenizer, graphs)


def traced_pixels() -> Tensors:
    """Make noise to trace a backbone with."""
    return (torch.randn(1, 3, *TRACED_HW),)


@torch.inference_mode()
def measure_cells(backbone: nn.Module) -> int:
    """Return the pixels along a side of the cells of the finest level that `backbone` gives."""
    finest, *_ = backbone(torch.zeros(1, 3, _MEASURED_SIDE, _MEASURED_SIDE))
    return _MEASURED_SIDE // int(finest.shape[-1])


def project_levels(projections: nn.ModuleList, stages: Sequence[Tensor]) -> Tensors:
    """Project each stage of the backbone, and make the further levels from the last stage."""
    levels = [project(stage) for project, stage in zip(projections, stages, strict=False)]
    source = stages[-1]
    for project in list(projections)[len(stages) :]:
        source = project(source)
        levels.append(source)
    return tuple(levels)
