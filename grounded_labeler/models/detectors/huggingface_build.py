"""Engine "transformers": Grounding DINO, MM-Grounding-DINO and LLMDet from a local folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
)
from transformers.utils import logging as transformers_logging

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.huggingface import DELIMITERS, TEXT_NAMES, split
from grounded_labeler.models.detectors.parts import Parts
from grounded_labeler.models.detectors.preprocess import long_side
from grounded_labeler.models.runtime.unloading import OpenFile, ReadWeights, Weights, pick
from grounded_labeler.models.state_dict import check_keys

# LLMDet's folders name the second.
MODEL_TYPES = ("grounding-dino", "mm-grounding-dino")
_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load(folder: Path, short_side: int | None) -> Parts:
    """The parts of a model in a folder as `save_pretrained` writes it.

    That is its config, safetensors, tokenizer and image processor. Raises WeightsError
    when a file is missing or damaged, when the folder holds another kind of model, or
    when its weights do not fit its config exactly.
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
    check_keys(folder, info["missing_keys"], info["unexpected_keys"])
    ids = dict(zip(DELIMITERS, tokenizer.convert_tokens_to_ids(list(DELIMITERS)), strict=True))
    if ids != DELIMITERS:
        raise WeightsError(f"{folder} has another model's tokenizer: download its files again.")
    if short_side is not None:
        processor.size = {"shortest_edge": short_side, "longest_edge": long_side(short_side)}
    return split(model.eval(), tokenizer, processor, _text_weights(folder))


def _text_weights(folder: Path) -> ReadWeights | None:
    """What reads the text encoder's weights again; None where they are in several files."""
    file = folder / "model.safetensors"
    if not file.is_file():
        return None
    opened = OpenFile(file)

    def read() -> Weights:
        try:
            return pick(load_file(opened.path), TEXT_NAMES)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"{file}: the weights of the text encoder cannot be read again."
            ) from error

    return read


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
