"""Figures in sentences, for people who know no statistics."""

from collections.abc import Mapping, Sequence

from grounded_labeler._text import shorten
from grounded_labeler.evaluation.intervals import Interval
from grounded_labeler.preannotate.names import one_line
from grounded_labeler.quality.figures import Figures, LabelFigures, Rate

NOT_DEFINED = "not defined"
ALL_TOGETHER = "(all together)"  # in place of a label
_MOST_NAMED = 10  # labels in one sentence
_MOST_EXPLAINED = 3  # labels with a sentence each
_MOST_CHARACTERS = 60  # of a label
_HARDLY = 0.005  # a difference that two digits do not show


def figure(value: float | None) -> str:
    """Write a figure in [0, 1] with two digits; one that is not 1 is not written as 1, nor 0."""
    if value is None:
        return NOT_DEFINED
    text = f"{value:.2f}"
    if text == "1.00" and value < 1:
        return "> 0.99"
    return "< 0.01" if text == "0.00" and value > 0 else text


def interval(ends: Interval) -> str:
    """Write an interval: "0.87 to 0.93"."""
    return f"{ends.low:.2f} to {ends.high:.2f}"


def rate(name: str, of: Rate) -> str:
    """Write a rate with its interval: "recall 0.90, 0.87 to 0.93"."""
    if of.value is None or of.interval is None:
        return f"{name} {NOT_DEFINED}"
    return f"{name} {figure(of.value)}, {interval(of.interval)}"


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun: "1 object", "2,000 objects"."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def name_of(label: str) -> str:
    """Write a label on one line, cut where it is long; without quotes."""
    return shorten(one_line(label), _MOST_CHARACTERS)


def quoted(label: str) -> str:
    """Write a label in quotes."""
    return f"“{name_of(label)}”"


def listed(labels: Sequence[str]) -> str:
    """Write labels in quotes, with commas, the first ten."""
    shown = [quoted(label) for label in labels[:_MOST_NAMED]]
    rest = len(labels) - len(shown)
    return ", ".join(shown + [f"{rest:,} other labels"] * bool(rest))


def summary(figures: Figures) -> list[str]:
    """Say in some three sentences what came out."""
    total = figures.total
    if not figures.images:
        return ["No image could be measured."]
    sentences = [_found(figures)]
    detections = total.found + total.wrong
    if detections:
        right = "none was" if not total.found else _were(total.found)
        sentences.append(
            f"Of {counted(detections, 'detection')}, {right} right "
            f"({rate('precision', total.precision)})."
        )
    elif total.truths:
        sentences.append("Nothing was detected, so that precision is not defined.")
    sentences += _extremes(figures.labels)
    if detections and total.truths:
        sentences += _confusions(figures)
    return sentences


def notes(figures: Figures, floor: float) -> list[str]:
    """Say what the figures do not: what was left out, and where there is too little truth."""
    said = [*_little_truth(figures.labels)]
    absent = [one.label for one in figures.labels if not one.truths and one.label is not None]
    if absent and figures.total.truths:
        said.append(
            f"The truth has no object of {listed(absent)}: what was detected of it is wrong, and "
            "its recall is not defined."
        )
    if figures.not_asked:
        said.append(
            f"{_counts(figures.not_asked)} in the truth were not looked for: they are counted "
            "neither as found nor as missed."
        )
    if figures.crowds:
        said.append(
            f"{counted(figures.crowds, 'object')} of the truth "
            f"{'is a group' if figures.crowds == 1 else 'are groups'} (iscrowd): what lies in one "
            "is neither right nor wrong."
        )
    if figures.without_mask:
        said.append(
            f"{counted(figures.without_mask, 'object')} of the truth "
            f"{'has' if figures.without_mask == 1 else 'have'} no mask and "
            f"{'is' if figures.without_mask == 1 else 'are'} left out of the figures of masks."
        )
    said += _best_threshold(figures)
    said.append(
        f"Average precision (AP) and average recall (AR) count all that scores at least "
        f"{floor:g}, also what the thresholds leave out; all other figures count what the service "
        "returns at the thresholds that hold."
    )
    return said


def _best_threshold(figures: Figures) -> list[str]:
    best, now = figures.curves[0], figures.total.f1.value
    if best.best is None or best.best_f1 is None or now is None:
        return []
    if best.best_f1 - now < _HARDLY:
        return ["No single threshold for all labels gives a clearly higher F1 on these images."]
    return [
        f"With one threshold for all labels, F1 would be highest on these images at "
        f"{best.best:.2f} ({figure(best.best_f1)}); it was chosen on them, so that other images "
        "will give a little less. The command “grounded-labeler tune” chooses one for each label, "
        "and says what to expect of it."
    ]


def _found(figures: Figures) -> str:
    total = figures.total
    where = f"in {counted(figures.images, 'image')}"
    if not total.truths:
        tail = "nothing was detected either." if not total.wrong else ""
        tail = tail or f"{counted(total.wrong, 'detection')} {_was(total.wrong)} wrong."
        return f"The truth has no object of the labels that were looked for {where}; {tail}"
    found = "none was" if not total.found else _were(total.found)
    kind = "object"
    if len(figures.labels) == 1 and figures.labels[0].label is not None:
        kind = f"{quoted(figures.labels[0].label)} object"
    return (
        f"Of {counted(total.truths, kind)} {where}, {found} found ({rate('recall', total.recall)})."
    )


def _extremes(labels: Sequence[LabelFigures]) -> list[str]:
    """Say which label is detected best, and which worst."""
    known = [one for one in labels if one.truths and one.f1.value is not None]
    if len(known) < 2:
        return []
    ordered = sorted(known, key=lambda one: -(one.f1.value or 0))
    best, worst = ordered[0], ordered[-1]
    if best.f1.value == worst.f1.value:
        return [f"All labels are detected equally well ({rate('F1', best.f1)})."]
    return [
        f"Best is {quoted(best.label or '')} (F1 {figure(best.f1.value)}), weakest "
        f"{quoted(worst.label or '')} (F1 {figure(worst.f1.value)}): of "
        f"{counted(worst.truths, 'object')} {worst.missed:,} {_was(worst.missed)} missed, and "
        f"{counted(worst.wrong, 'detection')} {_was(worst.wrong)} wrong."
    ]


def _confusions(figures: Figures) -> list[str]:
    table = figures.confusion
    pairs = confused(table.names, table.counts)
    if not pairs:
        return ["No label was taken for another."] if len(table.names) > 1 else []
    count, true, taken = pairs[0]
    return [
        f"{quoted(true)} was taken for {quoted(taken)} {counted(count, 'time')}"
        + (", more often than any other label for another." if len(pairs) > 1 else ".")
    ]


def confused(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[tuple[int, str, str]]:
    """List how often which true label was taken for which, most often first."""
    pairs = [
        (counts[row][column], names[row], names[column])
        for row in range(len(names))
        for column in range(len(names))
        if row != column and counts[row][column]
    ]
    return sorted(pairs, key=lambda pair: -pair[0])


def _little_truth(labels: Sequence[LabelFigures]) -> list[str]:
    few = [one for one in labels if one.truths and one.more_to_halve is not None]
    few.sort(key=lambda one: one.truths)
    said = []
    for one in few[:_MOST_EXPLAINED]:
        if one.recall.interval is not None and one.more_to_halve is not None:
            said.append(
                f"There is little truth for {quoted(one.label or '')}: "
                f"{counted(one.truths, 'object')}, so that its recall is somewhere from "
                f"{interval(one.recall.interval)}; {one.more_to_halve:,} more would halve that "
                "interval."
            )
    if rest := [one.label or "" for one in few[_MOST_EXPLAINED:]]:
        said.append(f"There is little truth for {listed(rest)}, too: the table has the intervals.")
    return said


def _counts(numbers: Mapping[str, int]) -> str:
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{number:,} of {quoted(label)}" for label, number in ordered[:_MOST_NAMED]]
    rest = sum(number for _, number in ordered[_MOST_NAMED:])
    listed = ", ".join(shown + [f"{rest:,} of other labels"] * bool(rest))
    return f"{counted(sum(numbers.values()), 'object')} ({listed})"


def _were(number: int) -> str:
    return f"{number:,} {_was(number)}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
