"""Grounding DINO in three parts, whoever wrote it: its text encoder, its backbone, the rest.

The backbone needs no prompt and the text encoder no image, so what they make is kept;
only the rest, which brings both together, is run for every prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from grounded_labeler.core.types import RGBImage
from grounded_labeler.models.detectors import Options
from grounded_labeler.models.detectors.base import BatchedDetector
from grounded_labeler.models.detectors.caption import CaptionBuilder
from grounded_labeler.models.detectors.preprocess import Pixels, max_aspect, pad_to_patches
from grounded_labeler.models.runtime.graph import SubModel, Tensors, make_graphs, to_device
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.runtime.unloading import ReadWeights, UnloadableModule

# Of an image to trace the graphs with, in pixels: in every stage of every Swin a side is
# odd and no multiple of the window, so that the steps for such sides are in the trace.
TRACED_HW = (244, 292)
TRACED_CAPTION = "a red cat . dog ."


@dataclass(frozen=True, eq=False)
class Parts:
    """What a package's model is taken apart into.

    `longest` is the most pixels that the longer side of a resized image has.
    `text` is the text encoder, a module, and `read` what it makes of captions, on its
    own device: float32 (B, T, D), and what tells which token may look at which.
    `graphs` has "backbone", pixels (B, 3, h, w) to a tensor a level, and "fusion", all of
    these and what `read` gives to boxes (B, Q, 4) and token scores (B, Q, T).
    `read_text_weights` reads the weights of `text` from their file, if they are in one.
    """

    tokenizer: Tokenizer
    max_tokens: int
    queries: int
    longest: int
    prepare: Callable[[RGBImage], Pixels]
    text: nn.Module
    read: Callable[[Sequence[str]], Tensors]
    graphs: Mapping[str, SubModel]
    read_text_weights: ReadWeights | None = None


def traced_pixels() -> Tensors:
    """Noise to trace a backbone with."""
    return (torch.randn(1, 3, *TRACED_HW),)


def project_levels(projections: nn.ModuleList, stages: Sequence[Tensor]) -> Tensors:
    """The backbone's stages, each projected; more levels are made of the last one in turn."""
    levels = [project(stage) for project, stage in zip(projections, stages, strict=False)]
    source = stages[-1]
    for project in list(projections)[len(stages) :]:
        source = project(source)
        levels.append(source)
    return tuple(levels)


class GroundingDetector(BatchedDetector):
    """A Detector made of a model's parts."""

    def __init__(self, parts: Parts, options: Options) -> None:
        compute = options.compute
        captions = CaptionBuilder(parts.tokenizer, parts.max_tokens)
        super().__init__(
            captions,
            compute.device,
            options.batch_size,
            parts.queries,
            options.cache,
            aspect=max_aspect(parts.longest, parts.queries),
        )
        self._prepare, self._read = parts.prepare, parts.read
        self._text = UnloadableModule(
            parts.text.eval().to(compute.device),
            # On a GPU they are no longer those of the file.
            parts.read_text_weights if compute.device == "cpu" else None,
        )
        # The modules of parts that OpenVINO computes are not kept.
        self._graphs = make_graphs(parts.graphs, compute, options.exported)
        self.runtime = self._graphs.runtime

    @translate_memory_errors()
    def prepare(self, image: RGBImage) -> Pixels:
        """The package's own resizing and normalisation, on the CPU."""
        return self._prepare(image)

    @translate_memory_errors()
    def look(self, pixels: NDArray[np.float32]) -> Tensors:
        """See BatchedDetector.look."""
        return self._graphs["backbone"](
            to_device(torch.from_numpy(pad_to_patches(pixels)), self.device)
        )

    @translate_memory_errors()
    @torch.inference_mode()
    def read(self, captions: Sequence[str]) -> Tensors:
        """See BatchedDetector.read; in float32, as it is a hundredth of the work."""
        with self._text.loaded():
            return self._read(captions)

    @translate_memory_errors()
    @torch.inference_mode()
    def ask(
        self, features: Sequence[Tensors], text: Tensors
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See BatchedDetector.ask."""
        levels = [_stack(level) for level in zip(*features, strict=True)]
        boxes, scores = self._graphs["fusion"](*levels, *text)
        return boxes.cpu().numpy(), scores.cpu().numpy()


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
