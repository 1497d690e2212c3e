"""Phrases as SAM 3 reads them: each is a text of its own, never cut."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from grounded_labeler.models.detectors.caption import check_count, phrase_too_long
from grounded_labeler.models.detectors.text_inputs import plain

_BEGIN_AND_END = 2


class PhraseReader:
    """Makes the texts of phrases for one tokenizer; safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, padding_id: int) -> None:
        """Copy `tokenizer`.

        `max_tokens` is the longest text the model reads, the tokens at both ends counted, and
        `padding_id` the token that fills shorter ones up to it.
        """
        self._tokenizer = plain(tokenizer)
        self._max_tokens, self._padding_id = max_tokens, padding_id
        self._room = max_tokens - _BEGIN_AND_END
        # What the model reads as the beginning or the end of a text.
        added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        breaks = sorted(added, key=len, reverse=True)
        self._breaks = re.compile("|".join(map(re.escape, breaks)), re.IGNORECASE)

    def read(self, phrases: Sequence[str]) -> list[str]:
        """Return the text of each phrase; it is empty where the phrase has no token.

        Raises PromptError when a phrase is longer than the model can read, or when there
        are too many.
        """
        check_count(phrases)
        texts = [self._clean(phrase) for phrase in phrases]
        for text in texts:
            size = len(self._tokenizer.encode(text, add_special_tokens=False).ids)
            if size > self._room:
                raise phrase_too_long(text, size, self._room)
        return texts

    def tokens(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tokenize B texts that `read` returned.

        Returns ids, int64 (B, T), and which of them are no padding, bool (B, T); T is
        `max_tokens`.
        """
        ids = np.full((len(texts), self._max_tokens), self._padding_id, np.int64)
        mask = np.zeros(ids.shape, np.bool_)
        for row, text in enumerate(texts):
            own = self._tokenizer.encode(text).ids
            ids[row, : len(own)] = own
            mask[row, : len(own)] = True
        return ids, mask

    def _clean(self, phrase: str) -> str:
        # Half of a surrogate pair cannot be tokenized; encoding turns it into "?".
        readable = phrase.encode("utf-8", "replace").decode("utf-8")
        return " ".join(self._breaks.sub(" ", readable.lower()).split())
