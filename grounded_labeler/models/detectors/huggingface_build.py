"""Engine "transformers": Grounding DINO, MM-Grounding-DINO and LLMDet from a local folder."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.huggingface import DELIMITERS, split
from grounded_labeler.models.detectors.huggingface_heads import (
    check_heads,
    read_heads,
    set_sharing,
)
from grounded_labeler.models.detectors.huggingface_images import preprocessing_of
from grounded_labeler.models.detectors.parts import Parts
from grounded_labeler.models.hub_folder import LOCAL, reading
from grounded_labeler.models.state_dict import check_keys

# LLMDet's folders name the second.
MODEL_TYPES = ("grounding-dino", "mm-grounding-dino")
_WEIGHTS = "model.safetensors"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_PROCESSOR = "save it there with the processor's save_pretrained, or download it again"
# What a folder has besides its config, one of each line, and what to do where there is none.
_NEEDED = {
    (_WEIGHTS, f"{_WEIGHTS}.index.json"): "download the weights, or save the model there",
    ("tokenizer.json", "vocab.txt"): _PROCESSOR,
    ("preprocessor_config.json", "processor_config.json"): _PROCESSOR,
}


def load(folder: Path) -> Parts:
    """Load the parts of a model from a folder as `save_pretrained` or a Trainer writes it.

    That is its config, safetensors in one file or several, and what its processor saves:
    tokenizer and image processor. Other files, as those of an optimizer, are not read.
    Raises WeightsError when a file is missing or damaged, when the folder holds another kind
    of model, when its weights do not fit its config exactly, or when its images are prepared
    as no model of this kind does.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"{folder} has no config.json: download the weights, or name the folder that the model "
            "was saved into."
        )
    with reading(folder):
        config = AutoConfig.from_pretrained(folder, **LOCAL)
        if config.model_type not in MODEL_TYPES:
            expected = " or ".join(MODEL_TYPES)
            raise WeightsError(f"{folder} holds a {config.model_type}: expected {expected}.")
        _check_files(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
        heads = read_heads(folder)
        set_sharing(config, heads, folder)
        model, info = AutoModelForZeroShotObjectDetection.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,  # whatever the file holds: precision is chosen later
            output_loading_info=True,
            **LOCAL,
        )
    check_keys(folder, info["missing_keys"], info["unexpected_keys"])
    check_heads(model, heads, folder)
    _check_tokenizer(tokenizer, config, folder)
    return split(model.eval(), tokenizer, preprocessing_of(processor, folder))


def _check_files(folder: Path) -> None:
    """Raise WeightsError with one sentence on what `folder` lacks and where it comes from."""
    for names, remedy in _NEEDED.items():
        if any((folder / name).is_file() for name in names):
            continue
        found = next((name for name in _PICKLED if (folder / name).is_file()), None)
        if found and names[0] == _WEIGHTS:
            raise WeightsError(
                f"{folder} has its weights in {found}, which is never read because it may hold "
                "code: load the model where it was trained and save it as safetensors with "
                "save_pretrained."
            )
        raise WeightsError(f"{folder} has no {' or '.join(names)}: {remedy}.")


def _check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, folder: Path
) -> None:
    """Raise WeightsError when the model would read the tokenizer's ids as other words."""
    ids = dict(zip(DELIMITERS, tokenizer.convert_tokens_to_ids(list(DELIMITERS)), strict=True))
    known = config.text_config.vocab_size
    if ids != DELIMITERS or len(tokenizer) > known:
        raise WeightsError(
            f"{folder} has another model's tokenizer: expected bert-base-uncased's, which the "
            f"models of this kind are trained with, and at most {known} tokens; use the tokenizer "
            "files of the model that this one was trained from."
        )
