"""As much English grammar as it takes to find what a phrase is about: its head noun."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grounded_labeler.core import lexicon as lex
from grounded_labeler.core import signs
from grounded_labeler.core.plurals import is_plural, singulars
from grounded_labeler.core.words import folded, words_of

_GROUPS = re.compile(
    "|".join(
        rf"\{one}[^\{one}\{other}]*\{other}"
        for one, other in zip(signs.OPENING_BRACKETS, signs.CLOSING_BRACKETS, strict=True)
    )
)
_EDGES = re.compile(r"^[^\w+#]+|(?<=[\w+#])[^\w+#]+$")
_NUMBER = re.compile(r"\d[\d.,]*(?:st|nd|rd|th|x)?")
_POSSESSIVE = re.compile(rf".[{signs.APOSTROPHES}]s?$")
_INNER = re.compile(r"[-_]")
_LONGEST_FRAME = 7  # words before the "of" of "a close up black and white photo of"

IsName = Callable[[tuple[str, ...]], bool]


@dataclass(frozen=True)
class NounPhrase:
    """What a phrase is about: `words` from `start` to `end`, its head the last of these.

    `words` are folded; what follows `end` says more about the head, and what precedes
    `start` is such as "a photo of". `frame` is where the noun of such a frame is, "photo",
    if there is one. There is no head where `start` is `end`. `negated` is a phrase about
    what is not there.
    """

    words: tuple[str, ...]
    start: int
    end: int
    frame: int | None = None
    negated: bool = False

    @property
    def head(self) -> tuple[str, ...]:
        return self.words[self.start : self.end]

    @property
    def has_more(self) -> bool:
        """Whether something follows the head: "cat on a mat"."""
        return self.end < len(self.words)


def tokens_of(text: str) -> tuple[str, ...]:
    """The words of a phrase as they are typed, folded: "man-eating shark" are two."""
    tokens = ("and" if token == "&" else _EDGES.sub("", token) for token in folded(text).split())
    return tuple(token for token in tokens if token)


def without_remarks(text: str) -> str:
    """`text` without what it has in brackets, unless that is all: "person (sitting)"."""
    rest = _GROUPS.sub(" ", text)
    return rest if words_of(rest) else text


def noun_phrase(text: str, is_name: IsName) -> NounPhrase:
    """Read one phrase; `is_name` tells whether words name the object to find."""
    words = tokens_of(text)
    start, frame = _content(words, lex.QUANTITIES)
    rest = words[start:]
    if is_negation(rest):
        return NounPhrase(words, start, start, frame, negated=True)
    end = start + _head_end(rest, is_name)
    return NounPhrase(words, start, end, frame)


def is_negation(words: Sequence[str]) -> bool:
    """Whether a phrase is about what is not there: "no helmet", but not "no parking sign"."""
    if not words:
        return False
    first, last = words[0], singulars(words[-1])
    if first in lex.NEGATORS:
        return not (first == "no" and len(words) > 2 and lex.SIGNS.intersection(last))
    if len(words) == 1:
        return first.startswith(("no-", "no_", "non-", "non_", "not-", "not_", "without-"))
    return first in lex.NEGATIONS_OF and words[1] in ("of", "but", "except", "other")


def is_modifier(word: str) -> bool:
    """Tell whether a word before a noun only describes it: "the", "two", "red", "well-kept"."""
    return (
        word in lex.ADJECTIVES
        or word in lex.ARTICLES
        or word in lex.QUANTIFIERS
        or bool(_NUMBER.fullmatch(word))
        or bool(_POSSESSIVE.search(word))
        or _is_adverb(word)
        or ("-" in word and _INNER.split(word)[-1].endswith(("ed", "ing", "like", "free", "proof")))
        or word.endswith(("-colored", "-coloured", "-sized", "-shaped"))
    )


def starts_with_article(words: Sequence[str]) -> bool:
    return bool(words) and (
        words[0] in lex.ARTICLES or words[0] in lex.QUANTIFIERS or bool(_NUMBER.fullmatch(words[0]))
    )


def after_frames(words: Sequence[str]) -> int:
    """Where a phrase begins after "please find all" and "a photo of a", which are of no object."""
    start, frame = _content(words, frozenset())
    return start if frame is not None or (start and words[0] in lex.REQUEST_WORDS) else 0


def _content(words: Sequence[str], quantities: frozenset[str]) -> tuple[int, int | None]:
    """Where the phrase proper begins, and where the noun of the last frame before it is.

    "A photo of a" is a frame, and "a pair of" is with the `quantities`.
    """
    start, noun = 0, None
    while True:
        begin = start
        verbs = begin
        while verbs < len(words) - 1 and words[verbs] in lex.REQUEST_WORDS:
            verbs += 1
        if begin < verbs < len(words) and (
            words[verbs] in lex.ARTICLES or words[verbs] in lex.QUANTIFIERS
        ):
            start = verbs
        while start < len(words) - 1 and (
            words[start] in lex.ARTICLES or words[start] in lex.QUANTIFIERS
        ):
            # "All of the cats"
            start += 2 if words[start + 1] == "of" and start + 2 < len(words) else 1
        if link := _frame(words, start, quantities):
            noun, start = link - 1, link + 1
        if start == begin:
            return start, noun


def _frame(words: Sequence[str], start: int, quantities: frozenset[str]) -> int:
    """Where the "of" of "a close-up photo of" is, 0 for none."""
    for i in range(start + 1, min(start + _LONGEST_FRAME, len(words) - 1)):
        nouns = {*singulars(_INNER.split(words[i - 1])[-1]), words[i - 1]}
        pictured = lex.PICTURES.intersection(nouns)
        links = words[i] == "of" or (
            pictured and words[i] in ("showing", "depicting", "containing")
        )
        if links and (pictured or quantities.intersection(nouns)):
            return i
        if words[i] in lex.PREPOSITIONS:
            return 0
    return 0


def _head_end(words: Sequence[str], is_name: IsName) -> int:
    """Up to where the words are the head and what stands before it: what follows says more."""
    if len(words) > 1 and words[0].endswith("ing"):
        takes_object = words[1] in lex.ARTICLES or words[0] in lex.TRANSITIVE_FIRST
        if takes_object and not _keeps_ing(words, 0, is_name):
            return 0  # "wearing a helmet" is about the person who wears it
    end = next((i for i in range(1, len(words)) if _ends_the_head(words, i, is_name)), len(words))
    if 1 < end < len(words) and words[end] in lex.ARTICLES:
        # Two nouns with an article between them: the word before it is a verb.
        is_noun = end == 1 or is_modifier(words[end - 2])
        end -= not (is_noun and is_name((words[end - 1],)))
    if 1 < end < len(words) and _is_adverb(words[end - 1]):
        end -= 1
    return _without_afterthoughts(words, end, is_name)


def _ends_the_head(words: Sequence[str], i: int, is_name: IsName) -> bool:
    word, previous = words[i], words[i - 1]
    if word == "up" and previous in lex.WITH_UP and i + 1 < len(words):
        return False  # "pick up truck"
    if word == "facing" and previous in lex.DIRECTIONS:
        return False  # "north facing wall"
    if word in lex.ENDS_THE_HEAD:
        return True
    return (not is_modifier(previous) or previous in lex.THINGS_TOO) and (
        word in lex.NEVER_NOUNS or _is_verb(words, i, is_name)
    )


def _is_verb(words: Sequence[str], i: int, is_name: IsName) -> bool:
    """Whether a word after a noun says what the noun does, or what is done to it."""
    word, previous = words[i], words[i - 1]
    has_object = i + 1 < len(words) and not _is_link(words[i + 1])
    if word.endswith("ing") and len(word) > 4 and not _INNER.search(word):
        return not _keeps_ing(words, i, is_name)
    if has_object:
        finite = word in (lex.VERBS if is_plural(previous) else lex.FINITE)
        past = word in lex.PAST and word not in lex.ED_ENDS_OF_COMPOUNDS
        return past or (finite and not is_name((previous, word)))
    participle = word.endswith("ed") and word not in lex.ED_NOUNS
    return (participle or word in lex.IRREGULAR_PARTICIPLES) and not is_name((word,))


def _keeps_ing(words: Sequence[str], i: int, is_name: IsName) -> bool:
    """Whether a word that ends in "ing" is a noun or stands before one: "washing machine"."""
    word = words[i]
    if word in lex.ING_NOUNS or singulars(word)[-1] in lex.ING_NOUNS:
        return True
    if i + 1 == len(words):
        return word in lex.ING_NOUNS_TOO or is_name((word,))
    following = words[i + 1]
    if word in lex.ING_NOUNS_TOO and _is_link(following):
        return not is_name((words[i - 1],)) or is_name((word,))
    if any(f"{word} {noun}" in lex.COMPOUNDS for noun in singulars(following)):
        return True
    return any(is_name(tuple(words[i : i + n])) for n in (2, 3, 4))


def _is_link(word: str) -> bool:
    return (
        word in lex.PREPOSITIONS
        or word in lex.AFTERTHOUGHTS
        or word in lex.CONJUNCTIONS
        or word in lex.AUXILIARIES
        or _is_adverb(word)
    )


def _is_adverb(word: str) -> bool:
    return len(word) > 5 and word.endswith("ly") and word not in lex.LY_NOUNS


def _without_afterthoughts(words: Sequence[str], end: int, is_name: IsName) -> int:
    """`end` before the adjectives and numbers that follow the noun: "car red", "car #2"."""
    while end > 1 and not is_name((words[end - 1],)):
        word = words[end - 1].strip("#")
        alone = word in lex.AFTERTHOUGHTS or _is_adverb(word)
        follows = word in lex.ADJECTIVES and word not in lex.THINGS_TOO
        number = bool(_NUMBER.fullmatch(word))
        if not (alone or follows or number) or all(map(is_modifier, words[: end - 1])):
            break
        end -= 1
    return end
