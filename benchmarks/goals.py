"""The first page: what is to be reached, what it was before and what it is now, in one run.

Speeds are ratios of one run, the reference and both checkouts in turns; beside each stands how
many of the reference's boxes come out by the rule, and how alike the masks are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.answers import WANTED
from benchmarks.report import Record
from benchmarks.sides import Agreement

FP32, LARGE = "fp32", "12 MP"
AGREEMENT = "same boxes, masks' IoU"


@dataclass(frozen=True)
class Goal:
    """One line of the table: the figure `key`, and where it is to be.

    `form` is the format of the figure. `answers` names the answers that must agree with the
    reference's for the figure to count; None where there are none.
    """

    key: str
    what: str
    to_reach: float
    form: str
    at_least: bool = True
    answers: str | None = None

    def is_reached(self, value: float, agreement: Agreement | None) -> bool:
        """Whether `value` is enough, and the answers are the reference's by the rule."""
        if self.answers is not None and (agreement is None or agreement.share < WANTED):
            return False
        return value >= self.to_reach if self.at_least else value <= self.to_reach


@dataclass
class Figures:
    """What was measured of one side, by the keys of the goals, and how its answers agree."""

    values: dict[str, float] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)


def goals(precisions: Sequence[str], base: str) -> list[Goal]:
    """The goals in the order of the table; each of `precisions` beside fp32 of the side `base`."""
    of_half = [
        Goal(f"{key} {name}", f"{what}, {name}, times fp32 {base}", 1.7, "{:.2f}x", answers=name)
        for name in precisions
        for key, what in (("first", "first prompt"), ("second", "second prompt, same image"))
    ]
    return [
        Goal("share", "detection, of the measured matrix speed", 0.7, "{:.0%}", answers=FP32),
        Goal("detect", "detection, times the reference", 3, "{:.2f}x", answers=FP32),
        *of_half,
        Goal(
            "threshold", "new threshold, 12 MP, 50 masks, times the reference", 100, "{:.0f}x",
            answers=LARGE,
        ),
        Goal("ready", "start of the service to /ready", 5, "{:.1f} s", at_least=False),
        Goal("rest", "memory at rest, after 16 clients", 1.3, "{:.2f} GiB", at_least=False),
        Goal("most", "memory at most, 16 clients", 3.5, "{:.2f} GiB", at_least=False),
        Goal(
            "preannotate", "preannotate, 200 images, over the models' own time", 0.03, "{:+.1%}",
            at_least=False,
        ),
    ]  # fmt: skip


def table(wanted: Sequence[Goal], now: Figures, before: Figures | None) -> list[Record]:
    """A record for each goal; what could not be measured says so."""
    records: list[Record] = []
    for goal in wanted:
        record: dict[str, object] = {"goal": goal.what}
        sides = {"before": before, "now": now} if before is not None else {"now": now}
        for name, figures in sides.items():
            record[name] = _shown(goal, figures)
            record[f"{AGREEMENT}, {name}"] = _agreement(goal, figures)
        record["to reach"] = f"{'>=' if goal.at_least else '<='} {goal.form.format(goal.to_reach)}"
        value = now.values.get(goal.key)
        agreement = now.agreements.get(goal.answers or "")
        record["reached"] = "" if value is None else goal.is_reached(value, agreement)
        records.append(record)
    return records


def share_over(measured: Mapping[str, float], images: int = 200) -> float:
    """By how much a run over `images` takes longer than the models' own time on them.

    `measured` has the seconds of a shorter run: `start`, with the first image in it, and `end`
    are of any run, `run` and `alone` grow with the `images` after the first.
    """
    run, alone = (measured[name] / measured["images"] for name in ("run", "alone"))
    whole = measured["start"] + (images - 1) * run + measured["end"]
    return whole / (images * alone) - 1


def _shown(goal: Goal, figures: Figures) -> str:
    value = figures.values.get(goal.key)
    return "not measured" if value is None else goal.form.format(value)


def _agreement(goal: Goal, figures: Figures) -> str:
    agreement = figures.agreements.get(goal.answers or "")
    return "" if agreement is None else str(agreement)
