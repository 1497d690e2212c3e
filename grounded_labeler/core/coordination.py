"""Where "and" joins two things to look for, and where not: "black and white dog"."""

import re
from collections.abc import Callable, Iterator
from itertools import islice

from grounded_labeler.core import lexicon as lex
from grounded_labeler.core.grammar import (
    NounPhrase,
    is_modifier,
    is_negation,
    noun_phrase,
    starts_with_article,
    tokens_of,
    without_remarks,
)
from grounded_labeler.core.label_names import LabelNames
from grounded_labeler.core.plurals import is_plural

_CONJUNCTION = re.compile(
    r"(?P<word>\s+(?:(?:and|or|and/or|as well as|plus)(?:\s+(?:also|then))?|[&+])\s+)"
    r"|(?P<sign>(?<=[^\W\d_])\s*[/&]\s*(?=[^\W\d_]))"
    r"|(?P<foreign>\s+(?:und|oder|et|ou|y|e|ed|och|eller|og|и|или|ve|veya|atau|và|και)\s+"
    r"|\s*[和与與及或跟と]\s*|\s+و\s*)",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^\s*(?:(?:(?:and|or|as well as|plus)\s+|&\s*)+|(?:both|either)\s+(?=.+\s(?:and|or)\s))(?=\S)",
    re.IGNORECASE,
)
_MOST = 2000  # conjunctions read in one phrase: a request cannot hold more phrases
_WINDOW = 200  # characters on either side of a conjunction that are read


def conjuncts(text: str, names: LabelNames, shown: Callable[[str], str]) -> Iterator[str]:
    """The phrases that `text` joins by conjunctions; `shown` makes of a part what was typed.

    A conjunction joins two phrases when both are nouns: two labels, "car and bus"; a label
    and another thing, "person and bicycle"; two words, or two that have an article. It does
    not where it joins two adjectives, what somebody wears, or the parts of a label.
    """
    matches = list(islice(_CONJUNCTION.finditer(text), _MOST))
    if not matches or names.equal(shown(text)):
        yield text
        return
    begin = 0
    for i, match in enumerate(matches):
        end = matches[i + 1].start() if i + 1 < len(matches) else len(text)
        left = shown(text[max(begin, match.start() - _WINDOW) : match.start()])
        right = shown(text[match.end() : min(end, match.end() + _WINDOW)])
        if match.start() < begin or not left.strip() or not right.strip():
            continue
        how = match.lastgroup or ""
        if _joins_phrases(left, right, how, names):
            yield text[begin : match.start()]
            begin = match.end()
        elif shared := _with_shared_noun(left, right, names):
            yield shared
            begin = match.end()
    yield without_leading(text[begin:])


def without_leading(text: str) -> str:
    """`text` without the conjunction that it begins with: "and birds"."""
    return _LEADING.sub("", text)


def _joins_phrases(left: str, right: str, how: str, names: LabelNames) -> bool:
    before, after = tokens_of(left), tokens_of(right)
    known = names.meant(left) is not None, names.meant(right) is not None
    if not before or not after or how == "foreign":
        return all(known)
    one, other = (noun_phrase(without_remarks(text), names.is_name) for text in (left, right))
    if (how == "sign" and not any(known)) or _is_one_thing(one, other, before, after):
        return False
    if one.has_more:
        return _is_parallel(one, other, after, is_known=known[1])
    if all(map(is_modifier, before[one.start :])):
        # "Orange and banana" are two things, "orange and white cat" is one.
        return known[0] and not (len(other.head) > 1 and is_modifier(other.head[0]))
    if not known[1] and other.head and _says_only_more(other.head):
        return False
    return known[0] or other.negated or _is_unit(other, before, after, names)


def _is_one_thing(
    one: NounPhrase, other: NounPhrase, before: tuple[str, ...], after: tuple[str, ...]
) -> bool:
    """Whether what a conjunction joins cannot be two phrases."""
    return (
        (before[-1], after[-1]) in lex.FIXED_PAIRS
        or (before[-1], after[0]) in lex.FIXED_PAIRS
        # "No cats and dogs" is neither of them.
        or (one.negated and not starts_with_article(after))
        or (other.start == other.end and not other.negated)
        or after[0] in lex.PREPOSITIONS - lex.NEGATORS
        or (after[0] in lex.NEGATORS and one.has_more)
    )


def _says_only_more(head: tuple[str, ...]) -> bool:
    """Whether there is no noun: "red and blue", "dog running and jumping"."""
    return all(map(is_modifier, head)) or (len(head) == 1 and head[0].endswith("ing"))


def _is_parallel(
    one: NounPhrase, other: NounPhrase, after: tuple[str, ...], *, is_known: bool
) -> bool:
    """Whether what follows a noun with more to say of it is another such, or stands apart.

    "A cat on the table and a dog on the floor", "the cat on the table and the dog"; but
    "person with helmet and vest".
    """
    if after[0].endswith(("ing", "ed")) and not is_modifier(after[0]):
        return False
    in_a_place = one.words[one.end] in lex.LOCATIVES
    return other.has_more or (in_a_place and is_known and starts_with_article(after))


def _is_unit(
    other: NounPhrase, before: tuple[str, ...], after: tuple[str, ...], names: LabelNames
) -> bool:
    """Whether the words after a conjunction are a thing by themselves, no tail of a compound.

    "Bicycle and person", "bicycle and red car" and "elks and mountain goats" are two
    things, "salt and pepper shaker" may be one.
    """
    bare = other.head
    while len(bare) > 1 and is_modifier(bare[0]):
        bare = bare[1:]
    return (
        len(bare) == 1
        or starts_with_article(after)
        or names.is_name(bare)
        or (is_plural(before[-1]) and is_plural(after[-1]))
    )


def _with_shared_noun(left: str, right: str, names: LabelNames) -> str | None:
    """`left` with the noun it shares with `right` where both make labels: "left and right hand"."""
    before, after = tokens_of(left), tokens_of(right)
    whole = names.equal(" ".join(after))
    if len(after) < 2 or not before or is_negation(before) or len(whole) != 1:
        return None
    for i in range(1, len(after)):
        shared = names.equal(" ".join((*before, *after[i:])))
        if len(shared) == 1 and shared != whole:
            return " ".join((left.strip(), *after[i:]))
    return None
