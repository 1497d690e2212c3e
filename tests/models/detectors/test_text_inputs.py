"""Which tokens see each other is what both packages say, for many captions and batches."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from groundingdino.models.GroundingDINO.bertwarper import (
    generate_masks_with_special_tokens_and_transfer_map as package_masks,
)
from numpy.typing import NDArray
from transformers import BertTokenizerFast
from transformers.models.grounding_dino.modeling_grounding_dino import (
    generate_masks_with_special_tokens_and_transfer_map as transformers_masks,
)
from transformers.models.mm_grounding_dino.modeling_mm_grounding_dino import (
    generate_masks_with_special_tokens_and_transfer_map as mm_masks,
)

from grounded_labeler.models.detectors.text_inputs import TextInputs, phrase_masks
from tools.train_demo_detector import vocabulary

WORDS = ["red", "circle", "star", "blue", "triangle", "wide", "small", "unknownword"]


@pytest.fixture(scope="module")
def tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(vocab=vocabulary(), do_lower_case=True)


@pytest.fixture(scope="module")
def delimiters(tokenizer: BertTokenizerFast) -> list[int]:
    return [int(one) for one in tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", ".", "?"])]


def their_masks(
    ids: NDArray[np.int64], delimiters: list[int]
) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    tensor, special = torch.from_numpy(ids), torch.tensor(delimiters)
    made = [
        package_masks({"input_ids": tensor}, delimiters, SimpleNamespace())[:2],
        transformers_masks(tensor, special),
        mm_masks(tensor, special),
    ]
    return [(attention.numpy(), positions.numpy()) for attention, positions in made]


def captions_of(rng: np.random.Generator, count: int) -> list[str]:
    return [
        " . ".join(
            " ".join(rng.choice(WORDS, rng.integers(1, 5))) for _ in range(rng.integers(1, 12))
        )
        + " ."
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_a_batch_of_captions_is_what_both_packages_make_of_it(
    seed: int, tokenizer: BertTokenizerFast, delimiters: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    captions = captions_of(rng, int(rng.integers(1, 6)))
    found = TextInputs.of(captions, tokenizer.backend_tokenizer, delimiters)
    tokens = tokenizer(captions, padding="longest", return_tensors="np")
    np.testing.assert_array_equal(found.ids, tokens["input_ids"])
    np.testing.assert_array_equal(found.mask, tokens["attention_mask"].astype(bool))
    assert not tokens["token_type_ids"].any(), "the encoders are given zeros"
    for attention, positions in their_masks(found.ids, delimiters):
        np.testing.assert_array_equal(found.attention, attention)
        np.testing.assert_array_equal(found.positions, positions)
    assert found.ids.dtype == found.positions.dtype == np.dtype(np.int64)
    assert found.attention.dtype == found.mask.dtype == np.dtype(np.bool_)


@pytest.mark.parametrize("seed", range(40))
def test_one_row_of_any_tokens_is_what_both_packages_make_of_it(seed: int) -> None:
    """The package's own loop carries a delimiter from one row into the next: one row, then."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 6, (1, rng.integers(3, 20)))
    ids[:, 0] = 0  # the package looks for what is before the first delimiter in the row before
    ids[:, -2] = 1  # and fails without a phrase
    attention, positions = phrase_masks(ids, [0, 1])
    for theirs in their_masks(ids, [0, 1]):
        np.testing.assert_array_equal(attention, theirs[0])
        np.testing.assert_array_equal(positions, theirs[1])


def test_a_phrase_sees_itself_alone_and_counts_from_its_begin() -> None:
    ids = np.array([[101, 7, 8, 1012, 9, 1012, 102]])
    attention, positions = phrase_masks(ids, [101, 102, 1012])
    assert positions.tolist() == [[0, 0, 1, 2, 0, 1, 0]]
    assert [np.flatnonzero(row).tolist() for row in attention[0]] == [
        [0], [1, 2, 3], [1, 2, 3], [1, 2, 3], [4, 5], [4, 5], [6],
    ]  # fmt: skip


def test_padding_sees_itself_alone(tokenizer: BertTokenizerFast, delimiters: list[int]) -> None:
    captions = ["red .", "red circle . blue star ."]
    both = TextInputs.of(captions, tokenizer.backend_tokenizer, delimiters)
    alone = TextInputs.of(captions[:1], tokenizer.backend_tokenizer, delimiters)
    length = alone.ids.shape[1]
    assert both.mask[0].tolist() == [True] * length + [False] * (both.ids.shape[1] - length)
    np.testing.assert_array_equal(both.attention[0, :length, :length], alone.attention[0])
    np.testing.assert_array_equal(both.attention[0, length:, :length], False)
    np.testing.assert_array_equal(both.positions[0, :length], alone.positions[0])
