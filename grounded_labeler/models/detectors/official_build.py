"""The original model code with official checkpoints: built, filled and given a text encoder.

The package's own text encoder wrapper fails under transformers 5, and its
constructor downloads BERT, whose weights the checkpoint holds anyway. The model
gets a text encoder of ours instead; everything else is the package's.
"""

import argparse
import pickle
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import groundingdino.models.GroundingDINO.groundingdino as package
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertTokenizerFast
from transformers.models.bert.modeling_bert import BertEmbeddings, BertEncoder, BertPooler

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.official_config import PUBLISHED, Config, config_of
from grounded_labeler.models.state_dict import load_state

# In every official checkpoint and read by no model: a buffer that older
# transformers saved, and the label embedding of denoising training,
# which others may leave out.
UNUSED_KEYS = frozenset({"bert.embeddings.position_ids", "label_enc.weight"})
_DELIMITERS = ("[CLS]", "[SEP]", ".", "?")
_building = threading.Lock()


class TextEncoder(nn.Module):
    """BERT as Grounding DINO uses it: each token sees its own phrase only.

    The attribute names are those of transformers' BertModel, so that the
    checkpoint's `bert.*` keys fit.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config)  # never called, but in every checkpoint

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        token_type_ids: Tensor,
    ) -> dict[str, Tensor]:
        """Ids are int64 (B, T); `attention_mask` is bool (B, T, T), True where a token may look.

        Returns `last_hidden_state`, (B, T, hidden size).
        """
        hidden = self.embeddings(
            input_ids=input_ids, token_type_ids=token_type_ids, position_ids=position_ids
        )
        added = torch.zeros_like(attention_mask, dtype=hidden.dtype)
        added.masked_fill_(~attention_mask, torch.finfo(hidden.dtype).min)
        encoded = self.encoder(hidden, attention_mask=added[:, None])
        return {"last_hidden_state": encoded.last_hidden_state}


@contextmanager
def _text_encoder_given(tokenizer: BertTokenizerFast, encoder: TextEncoder) -> Iterator[None]:
    """While open, the package's constructor gets these instead of downloading its own.

    It takes neither as an argument: it calls two functions of one of its modules
    and wraps what they return. Those two names are replaced in the constructor's
    module, under a lock, and put back.
    """
    fetch = SimpleNamespace(
        get_tokenlizer=lambda _: tokenizer, get_pretrained_language_model=lambda _: encoder
    )
    ours = {"get_tokenlizer": fetch, "BertModelWarper": lambda bert_model: bert_model}
    with _building:
        theirs = {name: getattr(package, name) for name in ours}
        try:
            for name, value in ours.items():
                setattr(package, name, value)
            yield
        finally:
            for name, value in theirs.items():
                setattr(package, name, value)


def build_model(
    config: Config, tokenizer: BertTokenizerFast, text_config: BertConfig, **overrides: object
) -> package.GroundingDINO:
    """The package's model with random weights, ready for inference, made without any file.

    `config` is one of the package's config modules or like them; `overrides` replace values.
    """
    # Recomputing activations saves memory in training and only costs time here.
    values = {**vars(config), "use_checkpoint": False, "use_transformer_ckpt": False, **overrides}
    with _text_encoder_given(tokenizer, TextEncoder(text_config)):
        model = package.build_groundingdino(SimpleNamespace(**values)).eval()
    for layer in model.transformer.encoder.text_layers:
        layer.register_forward_pre_hook(_mask_per_image, with_kwargs=True)
    return model


def _mask_per_image(
    layer: nn.Module, args: tuple[object, ...], kwargs: dict[str, Any]
) -> tuple[tuple[object, ...], dict[str, Any]]:
    """Repeat a batch's phrase masks for the attention heads in the order attention reads them.

    That is image by image. The layer itself, which leaves masks of this shape
    alone, would repeat them head by head: right for one image, but in a batch
    of different captions each gets some of another's.
    """
    mask = kwargs["src_mask"].repeat_interleave(layer.nhead, dim=0)
    return args, {**kwargs, "src_mask": mask}


def read_checkpoint(checkpoint: Path) -> dict[str, Tensor]:
    """Read the model's tensors from a checkpoint, by their names in the model.

    It is a state_dict, or as training scripts write it, {"model": state_dict, ...} with what
    else they need to go on; names may begin with "module.". Nothing but tensors, numbers and
    the script's arguments is read. Raises WeightsError when the file is missing or damaged.
    """
    try:
        # Mapped, not read: the weights are in memory once, in the model. Files
        # older than torch 1.6 are no zip archives and cannot be mapped.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(
                checkpoint,
                map_location="cpu",
                weights_only=True,
                mmap=zipfile.is_zipfile(checkpoint),
            )
        is_bare = "model" not in content and all(map(torch.is_tensor, content.values()))
        named = content if is_bare else content["model"]
        state = {key.removeprefix("module."): value for key, value in named.items()}
    except FileNotFoundError as error:
        raise WeightsError(f"{checkpoint} does not exist: download the weights first.") from error
    except (
        OSError, RuntimeError, EOFError, pickle.UnpicklingError,
        AttributeError, LookupError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{checkpoint} is damaged or not a Grounding DINO checkpoint: download it again, or "
            'save yours with torch.save({"model": model.state_dict()}, ...).'
        ) from error
    return {key: value for key, value in state.items() if key not in UNUSED_KEYS}


def load_checkpoint(model: nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint of the official layout into `model`.

    Raises WeightsError when the file is missing, damaged or of another model.
    """
    load_state(model, read_checkpoint(checkpoint), checkpoint)


def load_tokenizer(vocabulary: Path, size: int) -> BertTokenizerFast:
    """The uncased BERT tokenizer of a `vocab.txt` with exactly `size` entries.

    Raises WeightsError when the file is missing or is another vocabulary.
    """
    try:
        lines = vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{vocabulary} is missing or damaged: put BERT's vocabulary there, the vocab.txt of "
            "bert-base-uncased."
        ) from error
    vocab = {token: number for number, token in enumerate(lines)}
    if len(vocab) != size or not vocab.keys() >= set(_DELIMITERS):
        raise WeightsError(
            f"{vocabulary} is not the vocabulary of this model: expected {size} different entries "
            f"with {' '.join(_DELIMITERS)} among them, found {len(vocab)}."
        )
    return BertTokenizerFast(vocab=vocab, do_lower_case=True)


def find_checkpoint(path: Path) -> Path:
    """Return `path` if it is a file, or the one published checkpoint in that folder.

    Raises WeightsError when there is none.
    """
    if path.is_file():
        return path
    name = next((name for name in PUBLISHED if (path / name).is_file()), None)
    if name is None:
        raise WeightsError(
            f"{path} has no {' or '.join(PUBLISHED)}: download the weights, or give the path of a "
            "checkpoint."
        )
    return path / name


def load_model(
    path: Path, tokenizer_folder: Path, config: str | None = None
) -> package.GroundingDINO:
    """Load the model of the checkpoint `path`, or of the published one in the folder `path`.

    Raises WeightsError or SettingsError as find_checkpoint, config_of, load_checkpoint and
    load_tokenizer do, and when the config is not one of this model.
    """
    checkpoint = find_checkpoint(path)
    values = config_of(checkpoint, config)
    text_config = BertConfig(attn_implementation="sdpa")  # the defaults are bert-base-uncased
    tokenizer = load_tokenizer(tokenizer_folder / "vocab.txt", text_config.vocab_size)
    try:
        model = build_model(values, tokenizer, text_config)
    except AttributeError as error:
        raise WeightsError(f"The config {config} does not set {error.name}.") from error
    except (
        TypeError, ValueError, LookupError, ArithmeticError, AssertionError, RuntimeError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"No model can be built of the config {config}: {type(error).__name__}, "
            f"{' '.join(str(error).split())}."
        ) from error
    load_checkpoint(model, checkpoint)
    return model
