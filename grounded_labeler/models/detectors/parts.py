"""Grounding DINO split into its stages: preprocessing, image encoder, text encoder, fusion."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from grounded_labeler.core.types import RGBImage
from grounded_labeler.models.detectors.preprocess import Pixels
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.runtime.unloading import ReadWeights

# Height and width in pixels of the image that the graphs are traced with: in every stage of
# every Swin a side is odd and no multiple of the window, so the trace holds the padding steps.
TRACED_HW = (244, 292)
_MEASURED_SIDE = 128  # pixels; the coarsest level, of stride 64, has 2 x 2 cells of it
TRACED_CAPTION = "a red cat . dog ."


@dataclass(frozen=True, eq=False)
class Parts:
    """The stages of one detection model.

    Attributes:
        tokenizer: the text encoder's tokenizer.
        max_tokens: the longest caption the model reads, [CLS] and [SEP] counted.
        queries: the number Q of boxes the model proposes for each image.
        longest: the most pixels that the longer side of a resized image has.
        cell_side: pixels along a side of the cells of the finest level: 8, in the large models 4.
        prepare: resizes and normalises one RGB image.
        text: the text encoder, a module that `encode_text` calls.
        encode_text: encodes B captions on the device of `text`: float32 (B, T, D), then
            the token masks and positions that the fusion stage takes.
        graphs: "backbone", from pixels (B, 3, h, w) to one tensor a level, and "fusion",
            from these and the output of `encode_text` to boxes (B, Q, 4) and token
            scores (B, Q, T).
        read_text_weights: reads the weights of `text` from their file; None where they
            are in several.
    """

    tokenizer: Tokenizer
    max_tokens: int
    queries: int
    longest: int
    cell_side: int
    prepare: Callable[[RGBImage], Pixels]
    text: nn.Module
    encode_text: Callable[[Sequence[str]], Tensors]
    graphs: Mapping[str, SubModel]
    read_text_weights: ReadWeights | None = None


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
