"""The sentence an annotator reads in the status field: the only thing that tells them why."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grounded_labeler._text import rounded_down, shorten
from grounded_labeler.core.inference import InferenceResult, near_miss_threshold
from grounded_labeler.core.polygons import LeftOut, total_left_out
from grounded_labeler.label_studio.drawings import count_shapes
from grounded_labeler.label_studio.queries import Query, VisualQuery

_MAX_WORDS_LENGTH = 500  # of a list of phrases; an annotator knows what they typed
_MAX_PROMPT_LENGTH = 200  # of a prompt that was typed earlier
_SMALLEST_SHARE = 0.001  # that is written as a number
_PRESENT = 0.5  # below it, an image more likely lacks a phrase than not
# Label Studio takes what was drawn away with the suggestions, and there are none.
_DELETE_IT = "Delete the rectangle if it is still there."


@dataclass(frozen=True)
class _Missed:
    """A phrase without a region: its best score, its box threshold, its presence if known."""

    text: str
    best: float
    threshold: float
    presence: float | None


def describe(found: InferenceResult, query: Query) -> str:
    """What was found and how long it took, or why nothing was."""
    labels = query.target.labels
    wanted = [phrase for phrase in query.prompt.phrases if not phrase.negative]
    if not wanted:
        return "Nothing to look for: every phrase begins with a minus sign."
    sentences = [_origin(query), _where(query), _counts(found)]
    sentences += [_missed(found, query), _more(found, query)]
    meant = zip(query.prompt.phrases, query.phrase_labels, strict=True)
    unknown = sorted({p.label for p, own in meant if p.label and own is None and not p.negative})
    if unknown:
        sentences.append(f"This project has no label {_listed(map(_quoted, unknown))}.")
    mapped = {phrase.text for phrase in wanted if phrase.label}
    pairs = zip(found.detections.phrases, found.detections.labels, strict=True)
    unnamed = sorted({phrase for phrase, label in pairs if label is None and phrase not in mapped})
    if unnamed and labels:
        names = _listed(map(_quoted, unnamed))
        sentences.append(f"No label fits {names}: choose one for these regions.")
    sentences.append(query.remark)
    sentences.append(_seconds(found))
    if query.inside is not None and not len(found.detections):
        sentences.append(_DELETE_IT)
    return " ".join(filter(None, sentences))


def describe_drawn(found: InferenceResult, query: VisualQuery) -> str:
    """What came of the clicks, boxes and strokes of an annotator, and how long it took."""
    drawn, label = count_shapes(query.drawing.shapes), query.drawing.label
    if not len(found.detections):
        return (
            f"Nothing found at {drawn}: click on the middle of the object, or draw a box around it."
        )
    count = len(found.detections)
    sentences = [f"Segmented {count} object{'s' * (count > 1)} from {drawn}."]
    names = {own.value for own in query.target.labels}
    if label is not None and label not in names:
        sentences.append(f"This project cannot draw {_quoted(label)}: choose another label.")
    elif label is None and names:
        sentences.append("No label was selected: choose one for the region.")
    sentences.append(f"Took {found.segment_seconds:.1f} s.")
    return " ".join(sentences)


def _seconds(found: InferenceResult) -> str:
    """How long it took, and with how many tiles."""
    took = f"Took {found.detect_seconds + found.segment_seconds:.1f} s"
    if found.tiles is None:
        return f"{took}."
    done, wanted = found.tiles.done, found.tiles.wanted
    if done == wanted:
        return f"{took} with {done} tiles."
    return f"{took} with {done} of {wanted} tiles, as there was no time for more: ask again."


def _origin(query: Query) -> str:
    if query.is_remembered and query.text is not None:
        return f'Asked with the remembered prompt "{shorten(query.text, _MAX_PROMPT_LENGTH)}".'
    return ""


def _where(query: Query) -> str:
    return "" if query.inside is None else "Inside the rectangle:"


def _counts(found: InferenceResult) -> str:
    detections = found.detections
    if not len(detections):
        return ""
    pairs = zip(detections.phrases, detections.labels, strict=True)
    names = Counter(shorten(label or phrase) for phrase, label in pairs)
    return f"Found {_listed(f'{name}: {count}' for name, count in names.most_common())}."


def _missed(found: InferenceResult, query: Query) -> str:
    """Every phrase that has no region, and its best score or why there can be none."""
    with_region = frozenset(found.detections.phrases)
    presences = found.presence or (None,) * len(found.best_scores)
    missed = [
        _Missed(phrase.text, best, limit, presence)
        for phrase, best, limit, presence in zip(
            query.prompt.phrases, found.best_scores, query.box_thresholds, presences, strict=True
        )
        if not phrase.negative and phrase.text not in with_region
    ]
    absent = {
        one.text: one.presence
        for one in missed
        if one.presence is not None and one.presence < _PRESENT and one.best < one.threshold
    }
    unmatched = [one for one in missed if one.text not in absent]
    differ = len(set(_limits(query).values())) > 1
    said = _unmatched(unmatched, found, query.thresholds.text, with_limits=differ)
    return " ".join(filter(None, [_absent(absent), said]))


def _absent(presences: Mapping[str, float]) -> str:
    """The phrases that the detector holds to be nowhere in the image."""
    if len(presences) > 1:
        names = _listed(
            f"{_quoted(text)} (presence {rounded_down(presence)})"
            for text, presence in presences.items()
        )
        return f"None of these in this image: {names}."
    for text, presence in presences.items():
        return f"No {_quoted(text)} in this image: presence {rounded_down(presence)}."
    return ""


def _limits(query: Query) -> dict[str, float]:
    """The box threshold of each phrase to look for."""
    pairs = zip(query.prompt.phrases, query.box_thresholds, strict=True)
    return {phrase.text: limit for phrase, limit in pairs if not phrase.negative}


def _unmatched(
    missed: Sequence[_Missed],
    found: InferenceResult,
    text_threshold: float,
    *,
    with_limits: bool,
) -> str:
    if not missed:
        return ""
    names = _listed(
        f"{_quoted(one.text)} (best {rounded_down(one.best)}"
        f"{f', box threshold {one.threshold:.4g}' if with_limits else ''})"
        for one in missed
    )
    said = f"Nothing found for {names}"
    if len(found.detections):
        said = f"Nothing for {names}"
    elif not with_limits:
        said += f"; the box threshold is {missed[0].threshold:.4g}"
    if any(one.best >= one.threshold for one in missed):
        return f"{said}. {_why_not(text_threshold, scores_tokens=found.presence is None)}"
    return f"{said}."


def _why_not(text_threshold: float, *, scores_tokens: bool) -> str:
    if not scores_tokens:
        return "A score that high counts only where no other phrase fits better."
    return (
        "A score that high counts only for a box that the whole phrase fits (text threshold "
        f"{text_threshold:.4g}) and no other phrase fits better."
    )


def _more(found: InferenceResult, query: Query) -> str:
    """What lower thresholds would show: of each phrase, where their thresholds differ."""
    more = Counter(found.near_misses.phrases)
    if not more:
        return ""
    limits = _limits(query)
    if len(set(limits.values())) == 1:
        return f"{more.total()} more {_between(min(limits.values()))}."
    parts = (
        f"{count} more of {_quoted(text)} {_between(limits[text])}"
        for text, count in more.most_common()
    )
    return f"{_listed(parts)}."


def _between(limit: float) -> str:
    lower = near_miss_threshold(limit) or 0.0
    return f"between {_two_digits(lower)} and {_two_digits(limit)}"


def _two_digits(threshold: float) -> str:
    """As 0.30, or with all its digits where it has more."""
    return f"{threshold:.2f}" if round(threshold, 2) == threshold else f"{threshold:.4g}"


def _quoted(text: str) -> str:
    return f'"{shorten(text)}"'


def _listed(parts: Iterable[str]) -> str:
    """The parts as a list, as many of them as there is room for."""
    shown: list[str] = []
    every = list(parts)
    room = _MAX_WORDS_LENGTH
    for part in every:
        room -= len(part) + 2
        if room < 0 and shown:
            return f"{', '.join(shown)} and {len(every) - len(shown):,} more"
        shown.append(part)
    return ", ".join(shown)


def describe_left_out(left_out: Sequence[LeftOut]) -> str:
    """What the polygons of each of some objects lack of their masks; "" where there is nothing."""
    if not left_out:
        return ""
    total = total_left_out(left_out)
    parts = [
        f"{count} {name}{'s' * (count > 1)}"
        for count, name in ((total.parts, "speck"), (total.holes, "small hole"))
        if count
    ]
    objects = f"{len(left_out)} object{'s' * (len(left_out) > 1)}"
    share = f"{100 * total.share:.1f} %" if total.share >= _SMALLEST_SHARE else "less than 0.1 %"
    return f"Left out {' and '.join(parts)} of {objects}, {share} of the area."
