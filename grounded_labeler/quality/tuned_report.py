"""What tuning came to, for people: a table, and the sentences below it."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounded_labeler.evaluation.curve import F1, Goal, PrecisionAtLeast, RecallAtLeast
from grounded_labeler.evaluation.intervals import Interval
from grounded_labeler.preannotate.names import readable
from grounded_labeler.quality.figures import Rate
from grounded_labeler.quality.held_out import Gain
from grounded_labeler.quality.tuned import Tuned, TunedLabel

_WIDTH = 200  # characters, where nobody looks at a terminal


def print_tuned(tuned: Tuned, console: Console | None = None) -> None:
    """Write the table and the sentences to standard output."""
    console = console or _console()
    console.print(table_of(tuned))
    for sentence in sentences(tuned):
        console.print(Text(sentence))


def table_of(tuned: Tuned) -> Table:
    """Lay out what every label was and becomes."""
    images, models = len(tuned.best.images), tuned.best.choice.name
    table = Table(title=f"{images} images, {models}: before -> after, with 95 % intervals")
    for name in ("label", "objects", "phrases", "threshold", "precision", "recall", "F1"):
        table.add_column(name, justify="left" if name in {"label", "phrases"} else "right")
    for one in tuned.best.labels:
        before, after = one.before, one.after
        # Several lines, so that figures stand below each other.
        table.add_row(
            Text(one.label),
            str(one.objects),
            Text(_change(one.now.prompt, one.phrases.prompt)),
            _threshold(one),
            _rates(before.precision, after.precision),
            _rates(before.recall, after.recall),
            _rates(before.f1, after.f1),
        )
    return table


def sentences(tuned: Tuned) -> list[str]:
    """Say what came out, what was not chosen and why, and where truth is short."""
    best = tuned.best
    said = [_overall(best.gain(tuned.goal), tuned.goal)]
    if len(tuned.every) > 1:
        said += _models(tuned)
    said += [one.remark for one in best.labels if one.remark]
    said += [one.more for one in best.labels if one.more]
    if best.failures:
        task, reason = next(iter(best.failures.items()))
        said.append(
            f"{len(best.failures)} tasks were not measured; {readable(str(task))}: {reason}"
        )
    if not tuned.is_changed:
        said.append("Nothing is better than what there is: the label config stays as it is.")
    return said


def _overall(gain: Gain, goal: Goal) -> str:
    match goal:
        case F1():
            what = "F1"
        case PrecisionAtLeast():
            what = "Recall"
        case RecallAtLeast():
            what = "Precision"
    return (
        f"{what} of all labels together changes by {gain.difference:+.3f} ({gain.low:+.3f} to "
        f"{gain.high:+.3f}) on images that did not choose."
    )


def _models(tuned: Tuned) -> list[str]:
    names = [one.choice.name for one in tuned.every]
    lines = [f"Compared, each tuned by itself: {', '.join(names)}."]
    for one in tuned.best.labels:
        lines.append(f"{one.label}: {tuned.best_of(one.label).name} is best.")
    if tuned.choice_gain is None:
        lines.append(f"None is better overall than {tuned.now.choice.name} beyond chance.")
    else:
        by = tuned.choice_gain
        lines.append(
            f"{tuned.best.choice.name} is better overall than {tuned.now.choice.name}, by "
            f"{by.difference:.3f} ({by.low:.3f} to {by.high:.3f})."
        )
    return lines


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _threshold(one: TunedLabel) -> str:
    change = _change(f"{one.threshold_now:.2f}", f"{one.threshold:.2f}")
    ends = one.interval
    return change if ends is None else f"{change}\n(best: {_ends(ends)})"


def _rates(before: Rate, after: Rate) -> str:
    numbers = _change(_number(before), _number(after))
    # Each once, in their order.
    ends = dict.fromkeys(_ends(one.interval) for one in (before, after) if one.interval)
    return f"{numbers}\n{' '.join(f'({one})' for one in ends)}"


def _ends(interval: Interval) -> str:
    return f"{interval.low:.2f} to {interval.high:.2f}"


def _number(rate: Rate) -> str:
    return "none" if rate.value is None else f"{rate.value:.2f}"
