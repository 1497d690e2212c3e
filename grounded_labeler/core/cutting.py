"""A typed prompt, cut into the texts of its phrases."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from grounded_labeler._text import shorten
from grounded_labeler.core import signs
from grounded_labeler.core.coordination import conjuncts, without_leading
from grounded_labeler.core.label_names import LONGEST_NAME, LabelNames
from grounded_labeler.core.plurals import singulars
from grounded_labeler.core.typed_thresholds import ThresholdReader
from grounded_labeler.core.words import folded, visible
from grounded_labeler.errors import PromptError

# A dot between two digits belongs to a number: "a 3.5 inch disk".
SEPARATOR = re.compile(rf"(?<!\d)\.|\.(?!\d)|[{re.escape(signs.SEPARATORS)}]")
ARROW = re.compile(
    rf"[={re.escape(signs.MINUS_SIGNS)}]{{1,5}}[{signs.ARROW_HEADS}]|[{signs.ARROWS}]"
)
_NUMBERED = re.compile(r"^[ \t]*\(?\d{1,4}[.)][ \t]+(?=\S)", re.MULTILINE)
_BULLET = re.compile(rf"^[\s{re.escape(signs.BULLETS)}]+(?=\w)")
_ENDS = re.escape(signs.SEPARATORS + signs.MARKS + ".") + r"\s"
_QUOTED = re.compile(
    rf"(?<![^{_ENDS}{re.escape(signs.OPENING_BRACKETS)}])[{signs.OPENING_QUOTES}]"
    rf"(\S(?:[^\r\n]{{0,200}}?\S)?)[{signs.CLOSING_QUOTES}]"
    rf"(?![^{_ENDS}{re.escape(signs.CLOSING_BRACKETS)}])"
)
_QUOTE = re.compile(f"[{signs.OPENING_QUOTES}{signs.CLOSING_QUOTES}]")
_RUN = re.compile(rf"[^\W_]+(?:[{signs.APOSTROPHES}][^\W_]+)*|&")
_JOINERS = frozenset(("and", "or", "&"))
# Stand for separators and blanks that do not separate; nobody types them.
_PRIVATE = 0xF0000
_HIDDEN = (
    "./&+ -_" + "".join(sign for sign in signs.SEPARATORS if not sign.isspace()) + signs.ABOVE_SIGNS
)
_HIDE = {ord(sign): chr(_PRIVATE + i) for i, sign in enumerate(_HIDDEN)}
_SHOW = {_PRIVATE + i: sign for i, sign in enumerate(_HIDDEN)}
_STRAY = re.compile(f"[{chr(_PRIVATE)}-{chr(_PRIVATE + len(_HIDDEN) - 1)}]")


class Part(NamedTuple):
    """A phrase as it is typed, with the label it is mapped to and its box threshold, if any."""

    typed: str
    label: str | None = None
    threshold: float | None = None


def cut(text: str, names: LabelNames) -> Iterator[Part]:
    """The phrases of a prompt.

    They end at separators and line ends, and where a conjunction joins two of them. A label
    that holds a separator itself is not cut, nor is what stands in quotes. A threshold is that
    of the phrase that it follows. Raises PromptError for a threshold that cannot be one.
    """
    text = _without_numbers(_STRAY.sub("", visible(text)))
    text = _with_labels_whole(_with_quotes_whole(text), names)
    for part in SEPARATOR.split(_THRESHOLDS.with_numbers_whole(text)):
        typed, *mapped = ARROW.split(" ".join(part.split()), maxsplit=1)
        typed = _BULLET.sub("", typed)
        if mapped:
            yield _mapped(typed, mapped[0], names)
            continue
        for phrases, threshold in _with_thresholds(typed, names):
            *others, last = conjuncts(without_leading(phrases), names, _shown)
            yield from (Part(_shown(other)) for other in others)
            yield Part(_shown(last), None, threshold)


def _mapped(typed: str, label: str, names: LabelNames) -> Part:
    phrases = list(_with_thresholds(typed, names))
    if len(phrases) > 1:
        cited = shorten(_shown(typed))
        raise PromptError(
            f'In "{cited}", a separator is missing after a box threshold: type '
            '"small cat > 0.2 -> Cat . dog".',
            cited,
        )
    phrase, threshold = phrases[0]
    own = None
    if not _is_name_with_sign(label, names):
        label, own = _THRESHOLDS.of_label(label)
    if own is not None and threshold is not None:
        cited = shorten(_shown(phrase).strip())
        raise PromptError(
            f'"{cited}" has two box thresholds, {threshold:g} and {own:g}: type one of them.',
            cited,
        )
    return Part(_shown(without_leading(phrase)), _shown(label), threshold if own is None else own)


def _with_thresholds(typed: str, names: LabelNames) -> Iterable[tuple[str, float | None]]:
    if _is_name_with_sign(typed, names):
        return [(typed, None)]
    return _THRESHOLDS.of_phrases(typed)


def _is_name_with_sign(typed: str, names: LabelNames) -> bool:
    """Whether `typed` is the name of a label that holds a sign of thresholds, such as ">50"."""
    own = _names_with_signs(names)
    return bool(own) and _closed(_shown(typed)) in own


@lru_cache(maxsize=16)
def _names_with_signs(names: LabelNames) -> frozenset[str]:
    return frozenset(
        _closed(name) for name in names.names if any(sign in name for sign in signs.ABOVE_SIGNS)
    )


def _closed(text: str) -> str:
    return "".join(folded(text).split())


def _without_numbers(text: str) -> str:
    """`text` without the numbers of a numbered list."""
    lines = [line for line in text.splitlines() if line.strip()]
    numbered = len(lines) > 1 and all(map(_NUMBERED.match, lines))
    return _NUMBERED.sub("", text) if numbered else text


def _shown(text: str) -> str:
    return text.translate(_SHOW)


_THRESHOLDS = ThresholdReader(_HIDE, _shown)


def _with_quotes_whole(text: str) -> str:
    """`text` with nothing to cut at inside quotes, unless all of it is in one pair of them."""
    whole = _QUOTED.fullmatch(text.strip())
    if whole and not _QUOTE.search(whole[1]):
        return whole[1]
    kept = " &/+-_" + signs.ABOVE_SIGNS
    separators = {code: hidden for code, hidden in _HIDE.items() if chr(code) not in kept}
    return _QUOTED.sub(lambda found: found[0].translate(separators), text)


def _with_labels_whole(text: str, names: LabelNames) -> str:
    """`text` with nothing to cut at inside the names of labels that hold a separator."""
    known = _cuttable(names)
    if not known:
        return text
    runs = [(run.start(), run.end(), _folded_run(run[0])) for run in _RUN.finditer(text)]
    pieces, done, i = [], 0, 0
    while i < len(runs):
        stop = _longest_name(text, runs, i, known.get(runs[i][2], {}))
        if stop:
            first, last = runs[i][0], runs[stop - 1][1]
            pieces += [text[done:first], text[first:last].translate(_HIDE)]
            done, i = last, stop
        else:
            i += 1
    return "".join([*pieces, text[done:]])


_Run = tuple[int, int, str]
# By their first word: the words of names, and what stands between these.
_Cuttable = dict[str, dict[tuple[str, ...], list[tuple[str, ...]]]]


def _longest_name(
    text: str, runs: list[_Run], i: int, known: dict[tuple[str, ...], list[tuple[str, ...]]]
) -> int:
    """After which run a name ends that begins with run `i`; 0 where none does."""
    if not known:
        return 0
    for stop in range(min(len(runs), i + 2 * LONGEST_NAME), i + 1, -1):
        words = tuple(word for _, _, word in runs[i:stop])
        for form in singulars(words[-1]):
            for gaps in known.get((*words[:-1], form), ()):
                if gaps == _gaps(text, runs[i:stop]):
                    return stop
    return 0


@lru_cache(maxsize=16)
def _cuttable(names: LabelNames) -> _Cuttable:
    """The names of labels that a prompt would be cut in."""
    known: _Cuttable = {}
    for name in names.names:
        runs = [(run.start(), run.end(), _folded_run(run[0])) for run in _RUN.finditer(name)]
        if not 1 < len(runs) <= 2 * LONGEST_NAME:
            continue
        gaps = _gaps(name, runs)
        words = tuple(word for _, _, word in runs)
        if any(gaps) or _JOINERS.intersection(words):
            own = known.setdefault(words[0], {})
            for form in singulars(words[-1]):
                own.setdefault((*words[:-1], form), []).append(gaps)
    return known


def _gaps(text: str, runs: Sequence[_Run]) -> tuple[str, ...]:
    """What stands between runs of letters, without the blanks and hyphens around it.

    A line end stays, so that no name goes on beyond it.
    """
    between = (text[one[1] : other[0]] for one, other in pairwise(runs))
    return tuple("\n" if "\n" in gap or "\r" in gap else gap.strip(" \t-_") for gap in between)


def _folded_run(run: str) -> str:
    word = folded(run)
    return "and" if word == "&" else word
