"""How a phrase is worded to the detector: its words, without what only stands beside them."""

import re
import unicodedata

from grounded_labeler.core import signs
from grounded_labeler.core.cutting import SEPARATOR
from grounded_labeler.core.grammar import after_frames, tokens_of
from grounded_labeler.core.words import visible

_PLURAL_MARK = re.compile(r"\((e?s)\)", re.IGNORECASE)
_BRACKETS = re.escape(signs.OPENING_BRACKETS + signs.CLOSING_BRACKETS + signs.ARROW_HEADS)
_QUOTES = "".join(sorted({*signs.OPENING_QUOTES, *signs.CLOSING_QUOTES} - {*signs.APOSTROPHES}))
_BESIDE = re.compile(
    rf"[\s_{_BRACKETS}{_QUOTES}*~^=|]+|(?<!\w)[{signs.APOSTROPHES}]+|[{signs.APOSTROPHES}]+(?!\w)"
)
_TRAILING = re.compile(rf"(?<![{signs.MARKS}])[{signs.MARKS}]+(?=\s|$)|(?<!\S)[#@/&{signs.MARKS}]+")


def spoken(text: str) -> str:
    """`text` as a caption says it: no separators, quotes, brackets, underscores nor emoji.

    Each of these would be a token of the phrase, bring its mean score down, or end it.
    Signs alone stay if they are all there is, unless they are no more than punctuation.
    """
    seen = _PLURAL_MARK.sub("", visible(text)).replace("_", " ")
    words = "".join(" " if _is_pictograph(character) else character for character in seen)
    worded = (_without_signs(text) for text in (words, seen))
    return next((text for text in worded if any(map(_counts, text))), "")


def _without_signs(text: str) -> str:
    bare = " ".join(_BESIDE.sub(" ", SEPARATOR.sub(" ", text)).split())
    return " ".join(_TRAILING.sub(" ", bare).split())


def without_frames(text: str) -> str:
    """A spoken text without "please find all" or "a photo of": no object is called so."""
    words = text.split()
    tokens = tokens_of(text)
    return " ".join(words[after_frames(tokens) :]) if len(words) == len(tokens) else text


def _is_pictograph(character: str) -> bool:
    return character > "\u2100" and unicodedata.category(character) in ("So", "Sk", "Co")


def _counts(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) in ("So", "Mn", "Mc")
