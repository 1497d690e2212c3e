"""Box thresholds that people type into a prompt, after the phrase they are for: "red car > 0.2"."""

import re
from collections.abc import Callable, Iterator
from unicodedata import normalize

from grounded_labeler._text import shorten
from grounded_labeler.core import signs
from grounded_labeler.errors import PromptError

# Not what follows "-" or "=": "->" and "=>" are arrows.
_NO_ARROW = rf"(?<![{signs.EQUALS_SIGNS}{re.escape(signs.MINUS_SIGNS)}])"
_SIGN = re.compile(rf"{_NO_ARROW}[{signs.ABOVE_SIGNS}](?:\s*[{signs.EQUALS_SIGNS}])?")
_BELOW = re.compile(f"[{signs.BELOW_SIGNS}]")
_BRACKET_OR_SIGN = re.compile(rf"[{signs.BELOW_SIGNS}]|{_SIGN.pattern}")
# Not "/" in a fraction: of "car > 1/2", 1 is no threshold.
_JOINED = re.compile(r"\s*(?:[&+]|/(?!\d)|(?:and|or|as well as|plus)\s)", re.IGNORECASE)
_BESIDE = frozenset(
    signs.OPENING_QUOTES
    + signs.CLOSING_QUOTES
    + signs.OPENING_BRACKETS
    + signs.CLOSING_BRACKETS
    + signs.MINUS_SIGNS
    + signs.MARKS
    + signs.BULLETS
    + "_. "
)
_EXAMPLE = 'as in "red car > 0.2"'


class ThresholdReader:
    """Reads the thresholds in a prompt whose hidden separators are `hidden`, by their signs."""

    def __init__(self, hidden: dict[int, str], shown: Callable[[str], str]) -> None:
        """`shown` gives the text that a person typed back, without what is hidden."""
        own = (hidden.get(ord(mark), "") for mark in signs.DECIMAL_MARKS)
        marks = re.escape(signs.DECIMAL_MARKS + "".join(own))
        blank = r"[^\S\r\n]*"
        number = rf"\d*[{marks}]\d+|\d+"
        self._number = re.compile(rf"{blank}({number})(?:{blank}([{signs.PERCENT_SIGNS}]))?")
        self._typed = re.compile(rf"({_SIGN.pattern}{blank})({number})")
        self._hidden, self._shown = hidden, shown

    def with_numbers_whole(self, text: str) -> str:
        """`text` with nothing to cut at inside thresholds: not ".2", nor "0,2"."""
        return self._typed.sub(lambda found: found[1] + found[2].translate(self._hidden), text)

    def of_phrases(self, text: str) -> Iterator[tuple[str, float | None]]:
        """The texts that thresholds end in `text`, and what follows them, each with its own.

        Raises PromptError for a sign without a number from 0 to 1, for a threshold without a
        phrase, and for words after a threshold that no conjunction joins to it.
        """
        begin, is_open = 0, False
        seen, is_empty = 0, True  # how far the text from `begin` on was looked through
        for sign in _BRACKET_OR_SIGN.finditer(text):
            if sign[0] in signs.BELOW_SIGNS:
                is_open = True
                continue
            is_empty = is_empty and _is_empty(text[seen : sign.start()])
            seen = sign.start()
            number = self._number.match(text, sign.end())
            if number is None:
                is_bracket = is_open and sign[0] in signs.ARROW_HEADS
                if is_bracket or (sign[0] in signs.ARROW_HEADS and is_empty):
                    is_open = False  # "<red car>", or a sign before a quoted line
                    continue
                raise self._no_number(text, sign[0])
            value = self._value(number)
            if not 0 <= value <= 1:
                raise self._no_number(text, sign[0])
            if is_empty:
                raise PromptError(
                    f'In "{self._cited(text)}", there is no phrase before '
                    f'"{self._shown(text[sign.start() : number.end()])}": type one before each box '
                    f"threshold, {_EXAMPLE}.",
                    self._cited(text),
                )
            yield self._after_joint(text, begin, sign.start()), value
            begin, is_open = number.end(), False
            seen, is_empty = begin, True
        if begin == 0:
            yield text, None
        elif not _is_empty(text[begin:]):
            yield self._after_joint(text, begin, len(text)), None

    def of_label(self, text: str) -> tuple[str, float | None]:
        """Split the name of a label, as an arrow points at it, from a threshold at its end.

        Any other sign is a part of the name, as in "<b>". Raises PromptError for a number above 1,
        and for a sign at the end that closes no bracket.
        """
        for sign in _SIGN.finditer(text):
            number = self._number.match(text, sign.end())
            if number is not None and _is_empty(text[number.end() :]):
                if not 0 <= (value := self._value(number)) <= 1:
                    raise self._no_number(text, sign[0])
                return text[: sign.start()], value
            is_bracket = _BELOW.search(text, 0, sign.start())
            if number is None and not is_bracket and _is_empty(text[sign.end() :]):
                raise self._no_number(text, sign[0])
        return text, None

    def _value(self, number: re.Match[str]) -> float:
        plain = normalize("NFKC", self._shown(number[1]))
        value = float(re.sub(r"[^\d]", ".", plain))
        return value / 100 if number[2] else value

    def _after_joint(self, text: str, begin: int, end: int) -> str:
        """The phrase from `begin` to `end`, without what joins it to a threshold before it."""
        if not begin:
            return text[:end]
        joint = _JOINED.match(text, begin, end)
        if joint is None:
            raise PromptError(
                f'In "{self._cited(text)}", a separator is missing after a box threshold: type '
                '"red car > 0.2 . person".',
                self._cited(text),
            )
        return text[joint.end() : end]

    def _no_number(self, text: str, sign: str) -> PromptError:
        return PromptError(
            f'In "{self._cited(text)}", a box threshold from 0 to 1 must follow "{sign}", '
            f"{_EXAMPLE}.",
            self._cited(text),
        )

    def _cited(self, text: str) -> str:
        return shorten(" ".join(self._shown(text).split()))


def _is_empty(text: str) -> bool:
    """Whether there is no word, no number and no emoji in `text`."""
    return all(character.isspace() or character in _BESIDE for character in text)
