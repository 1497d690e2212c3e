"""How texts are compared: by their words, whatever their case and what stands beside them."""

import re
import unicodedata

from grounded_labeler.core import signs

# In a text they only steer how it is drawn; U+200B is apart, it separates words.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200c-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20e3\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_BLANKS = re.compile("[\u200b\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_PLURAL_MARK = re.compile(r"\((e?s)\)", re.IGNORECASE)  # "circle(s)"
_LONE_DOT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_LONE_SIGN = re.compile(r"(?<![^\W_])[+#]+")
_DIGITS_MEET = re.compile(r"(?<=\d) (?=\d)")


class _WordCharacters(dict[int, str]):
    """For str.translate: keeps letters, marks and digits, drops apostrophes, parts the rest."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character.isalnum() or unicodedata.category(character).startswith("M"):
            return character
        return "" if character in signs.APOSTROPHES else " "


# Signs are kept where they end a word, as in "c++", and a dot between two digits.
_WORD_CHARACTERS = _WordCharacters({ord(sign): sign for sign in "+#."} | {ord("&"): " and "})
_WORD_CHARACTERS |= {code: _WORD_CHARACTERS[code] for code in range(128)}


def visible(text: str) -> str:
    """`text` without characters that nobody sees; zero-width spaces become spaces."""
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub("", _BLANKS.sub(" ", text))


def collapsed(text: str) -> str:
    """`text` without invisible characters, in one normal form, its words one space apart."""
    return " ".join(unicodedata.normalize("NFC", visible(text)).split())


def folded(text: str) -> str:
    """`text` collapsed and without case."""
    return " ".join(unicodedata.normalize("NFKC", visible(text)).casefold().split())


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, without case; what is no letter, mark or digit only separates them.

    "C++" keeps its signs, "3.5" its dot, "&" is "and", and "circle(s)" is "circle".
    """
    bare = folded(_PLURAL_MARK.sub("", text)).translate(_WORD_CHARACTERS)
    return tuple(_LONE_SIGN.sub(" ", _LONE_DOT.sub(" ", bare)).split())


def joined(words: tuple[str, ...]) -> str:
    """The words without what separates them, but "1 1" is not "11"."""
    return _DIGITS_MEET.sub("_", " ".join(words)).replace(" ", "")
