"""Phrases to captions, and the scores of a caption's tokens to the scores of its phrases.

Grounding DINO reads one text, "a cat . a dog .", and scores every box against
every token of it. The place of a phrase in
the text says which tokens are its own, so the scores of two phrases never mix.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from grounded_labeler._text import shorten
from grounded_labeler.core.prompt import MAX_PHRASES
from grounded_labeler.core.types import Scores
from grounded_labeler.errors import PromptError
from grounded_labeler.models.detectors.text_inputs import plain

_SEPARATOR, _END = " . ", " ."
_CLS_AND_SEP = 2


@dataclass(frozen=True)
class Caption:
    """One text for the detector, and where the P phrases of the request are in it.

    `tokens[p]` are the positions of phrase p's tokens, [CLS] being position 0;
    it is empty where phrase p is not in this text.
    """

    text: str
    tokens: tuple[range, ...]


class CaptionBuilder:
    """Writes the captions for one tokenizer; safe to share between threads.

    `tokenizer` is its copy, which neither pads nor cuts: for whoever reads the captions.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        """`max_tokens` is the longest caption the model reads, [CLS] and [SEP] counted."""
        self.tokenizer = plain(tokenizer)
        self._max_tokens = max_tokens
        # What the model reads as the end of a phrase, or of the whole text.
        added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        breaks = sorted({".", "?", *added}, key=len, reverse=True)
        self._breaks = re.compile("|".join(map(re.escape, breaks)), re.IGNORECASE)

    def build(self, phrases: Sequence[str]) -> list[Caption]:
        """Build the captions that together hold every phrase that has a token, none cut.

        There is one caption if they all fit, more if not, none without a token.
        A phrase given twice is in one caption once, and both get its tokens. Raises
        PromptError when a single phrase is longer than the model can read, or when there
        are too many.
        """
        check_count(phrases)
        texts = [self._clean(phrase) for phrase in phrases]
        sizes = {text: self._count(text) for text in dict.fromkeys(texts)}
        room = self._max_tokens - _CLS_AND_SEP
        for text, size in sizes.items():
            if size + 1 > room:
                raise phrase_too_long(text, size, room - 1)
        return [self._caption(group, texts) for group in _pack(sizes, room)]

    def _clean(self, phrase: str) -> str:
        # Half of a surrogate pair cannot be tokenized; encoding turns it into "?".
        readable = phrase.encode("utf-8", "replace").decode("utf-8")
        return " ".join(self._breaks.sub(" ", readable.lower()).split())

    def _count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _caption(self, group: Sequence[str], texts: Sequence[str]) -> Caption:
        caption = _SEPARATOR.join(group) + _END
        encoding = self.tokenizer.encode(caption)
        runs: dict[str, range] = {}
        begin = 0
        for text in group:
            end = begin + len(text)
            inside = [
                position
                for position, (first, last) in enumerate(encoding.offsets)
                if begin <= first < last <= end
            ]
            runs[text] = range(inside[0], inside[-1] + 1)
            begin = end + len(_SEPARATOR)
        return Caption(caption, tuple(runs.get(text, range(0)) for text in texts))


def check_count(phrases: Sequence[str]) -> None:
    """Raise PromptError when there are more phrases than can be asked at once."""
    if len(phrases) > MAX_PHRASES:
        raise PromptError(
            f"The prompt has {len(phrases):,} phrases, and at most {MAX_PHRASES:,} can be "
            "asked at once: shorten it."
        )


def phrase_too_long(text: str, size: int, most: int) -> PromptError:
    """Make the error for a phrase of `size` tokens where the model reads `most` of one phrase."""
    cited = shorten(text, 40)
    return PromptError(
        f'The phrase "{cited}" is {size} tokens long and the model reads '
        f"at most {most} in one phrase: shorten it.",
        cited,
    )


def _pack(sizes: dict[str, int], room: int) -> Iterator[list[str]]:
    """Group texts, in order, so that no group's tokens with their "." exceed `room`."""
    group: list[str] = []
    used = 0
    for text, size in sizes.items():
        if not size:
            continue
        if used + size + 1 > room:
            yield group
            group, used = [], 0
        group.append(text)
        used += size + 1
    if group:
        yield group


def phrase_scores(
    token_scores: NDArray[np.float32], tokens: Sequence[range]
) -> tuple[Scores, Scores]:
    """Reduce token scores to the highest and the mean score of each phrase's own tokens.

    `token_scores` is (Q, T) in [0, 1]. Both results are (Q, P) for the P runs of
    `tokens`, 0 where a run is empty.
    """
    peaks = np.zeros((len(token_scores), len(tokens)), np.float32)
    means = np.zeros_like(peaks)
    for column, run in enumerate(tokens):
        if run:
            own = token_scores[:, run.start : run.stop]
            peaks[:, column] = own.max(axis=1)
            means[:, column] = own.mean(axis=1)
    return peaks, means
