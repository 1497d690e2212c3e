"""Engine "transformers": Grounding DINO, MM-Grounding-DINO and LLMDet from a local folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from grounded_labeler.detectors.base import BatchedDetector, Pixels, refuse_keys
from grounded_labeler.detectors.caption import CaptionBuilder
from grounded_labeler.detectors.device_memory import translate_memory_errors
from grounded_labeler.errors import WeightsError
from grounded_labeler.structures import RGBImage

# LLMDet's folders name the second.
MODEL_TYPES = ("grounding-dino", "mm-grounding-dino")
# The models find the ends of phrases by these ids, whatever the tokenizer says.
_DELIMITERS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load_transformers(
    folder: Path, device: str, *, batch_size: int | None = None
) -> "TransformersDetector":
    """Load a folder as `save_pretrained` writes it: config, safetensors, tokenizer, processor.

    Raises WeightsError when a file is missing or damaged, when the folder holds
    another kind of model, or when its weights do not fit its config exactly.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json: download the weights first.")
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(folder, **_LOCAL)
            if config.model_type not in MODEL_TYPES:
                expected = " or ".join(MODEL_TYPES)
                raise WeightsError(f"{folder} holds a {config.model_type}: expected {expected}.")
            tokenizer = AutoTokenizer.from_pretrained(folder, **_LOCAL)
            processor = AutoImageProcessor.from_pretrained(folder, **_LOCAL)
            model, info = AutoModelForZeroShotObjectDetection.from_pretrained(
                folder, config=config, use_safetensors=True, output_loading_info=True, **_LOCAL
            )
    except (
        OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError,
        SafetensorError, StrictDataclassError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{folder} is incomplete or damaged: download its files again."
        ) from error
    refuse_keys(folder, info["missing_keys"], info["unexpected_keys"])
    ids = dict(zip(_DELIMITERS, tokenizer.convert_tokens_to_ids(list(_DELIMITERS)), strict=True))
    if ids != _DELIMITERS:
        raise WeightsError(f"{folder} has another model's tokenizer: download its files again.")
    return TransformersDetector(model, tokenizer, processor, device, batch_size=batch_size)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and reports out of the log while a model loads."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


class TransformersDetector(BatchedDetector):
    """A Detector around a model of transformers, its tokenizer and its image processor."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        processor: BaseImageProcessor,
        device: str,
        *,
        batch_size: int | None = None,
    ) -> None:
        captions = CaptionBuilder(tokenizer.backend_tokenizer, model.config.max_text_len)
        super().__init__(captions, device, batch_size, model.config.num_queries)
        self.model = model.eval().to(device)
        self._tokenizer = tokenizer
        self._processor = processor

    @translate_memory_errors()
    def prepare(self, image: RGBImage) -> Pixels:
        """The folder's own resizing and normalisation, on the CPU."""
        # A PIL image: a strip 3 pixels high, as an array, passes for channels first.
        values = self._processor(images=Image.fromarray(image), return_tensors="pt")
        return np.asarray(values["pixel_values"][0].numpy(), np.float32)

    @translate_memory_errors()
    def run(
        self, pixels: NDArray[np.float32], captions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See BatchedDetector.run."""
        text = self._tokenizer(list(captions), padding=True, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            out = self.model(
                pixel_values=torch.from_numpy(pixels).to(self.device),
                input_ids=text["input_ids"],
                token_type_ids=text["token_type_ids"],
                attention_mask=text["attention_mask"],
            )
            boxes, scores = out.pred_boxes.float(), out.logits.float().sigmoid()
        return boxes.cpu().numpy(), scores.cpu().numpy()
