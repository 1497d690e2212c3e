"""Captions as the text encoder takes them: tokens, and which of them see each other.

Grounding DINO lets a token see its own phrase only, and counts positions from the phrase's
begin. So what a phrase becomes depends on no other phrase of its caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

_PADDING = 0  # an id: tokens that nobody sees, so any would do


@dataclass(frozen=True, eq=False)
class TextInputs:
    """B captions of T tokens, the shorter ones padded at their end.

    Attributes:
        ids: int64 (B, T), of the tokens.
        mask: bool (B, T), False where a token is padding.
        attention: bool (B, T, T), True where a token, of axis 1, sees another, of axis 2.
        positions: int64 (B, T), of each token in its phrase.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    attention: NDArray[np.bool_]
    positions: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        captions: Sequence[str],
        tokenizer: Tokenizer,
        delimiters: Sequence[int],
        *,
        multiple: int = 1,
    ) -> "TextInputs":
        """Tokenize captions with a `plain` tokenizer; T is a multiple of `multiple`."""
        rows = [tokenizer.encode(caption).ids for caption in captions]
        length = -(-max(map(len, rows)) // multiple) * multiple
        ids = np.full((len(rows), length), _PADDING, np.int64)
        mask = np.zeros(ids.shape, np.bool_)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = True
        return cls(ids, mask, *phrase_masks(ids, delimiters))


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Copy a tokenizer without its settings for padding and truncation."""
    copied = Tokenizer.from_str(tokenizer.to_str())
    copied.no_padding()
    copied.no_truncation()
    return copied


def phrase_masks(
    ids: NDArray[np.int64], delimiters: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which tokens see each other, bool (B, T, T), and positions, int64 (B, T).

    `ids` are int64 (B, T). A phrase is what lies between two of the `delimiters`, the second
    one included. The first token and the last, and what is in no phrase, see themselves only.
    """
    count, length = ids.shape
    places = np.broadcast_to(np.arange(length), ids.shape)
    is_delimiter = np.isin(ids, delimiters)
    # Of each token, the delimiter before it, -1 if there is none, and the next one, which may
    # be itself.
    before = np.full((count, length + 1), -1)
    before[:, 1:] = np.maximum.accumulate(np.where(is_delimiter, places, -1), axis=1)
    before = before[:, :-1]
    upcoming = np.where(is_delimiter, places, length)
    upcoming = np.minimum.accumulate(upcoming[:, ::-1], axis=1)[:, ::-1]

    in_phrase = (upcoming > 0) & (upcoming < length - 1)
    attention = (upcoming[:, :, None] == upcoming[:, None]) & in_phrase[:, None]
    attention |= np.eye(length, dtype=np.bool_)
    return attention, np.where(in_phrase, places - before - 1, 0)
