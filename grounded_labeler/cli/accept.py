"""Accept predictions that people's reviews vouch for, and leave the others to people.

People review a random sample of a project: they open tasks, see the prediction, mend it and
submit. From that the command computes for each label the lowest score from which predictions are
right as often as --precision says, at a confidence of 95 % for all labels together. Tasks all of
whose predicted objects score that much become annotated, marked as accepted and by the user of
LABEL_STUDIO_API_KEY; the others stay for people, the least certain first. Nothing is written
without --apply.

The promise is about what is accepted being right, not about nothing being missed. It needs the
reviewed tasks to be a random sample, which --sample draws; tasks that were tuned on do not count.
Each look at the result with new reviews is a chance to be wrong: decide beforehand how many to
review. --revoke takes back what was accepted and nobody changed since.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.errors import GroundedLabelerError, sentence_of
from grounded_labeler.parsing import parser_of, project_number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    options = _parse(argv)
    from grounded_labeler.quality import acceptance_jobs  # noqa: PLC0415 - `--help` must not wait

    try:
        if options.revoke:
            acceptance_jobs.revoke_project(options)
        elif options.sample is not None:
            acceptance_jobs.sample_project(options)
        else:
            acceptance_jobs.accept_project(options)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"The command cannot go on: {sentence_of(error)}\n")
        return 1
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser()
    options = parser.parse_args(argv)
    if not options.revoke and options.sample is None and options.precision is None:
        parser.error("--precision is required, as --precision 0.97")
    if options.seed is not None and options.sample is None:
        parser.error("--seed is for --sample")
    return options


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("accept", __doc__ or "")
    parser.add_argument(
        "--project",
        type=project_number,
        required=True,
        help="number of the project in Label Studio",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--precision", type=_fraction,
        help="the part of the accepted objects of each label that must be right, as 0.97",
    )  # fmt: skip
    what.add_argument(
        "--sample", type=_count, metavar="N",
        help='draw N more tasks to review, into the tab "Review sample" of the data manager',
    )  # fmt: skip
    what.add_argument(
        "--revoke", action="store_true",
        help="delete the annotations that this user accepted and nobody changed since",
    )  # fmt: skip
    parser.add_argument(
        "--apply", action="store_true", help="do it; without, the command only says what it would"
    )
    parser.add_argument(
        "--iou", type=_overlap, default=0.5,
        help="how much the boxes of a predicted and a reviewed object overlap that are the same "
        "(intersection over union; default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--model-version", metavar="NAME",
        help="whose predictions (default: that of the newest prediction of the project)",
    )  # fmt: skip
    parser.add_argument(
        "--tuned", type=Path, default=Path("tuned/tuned.json"), metavar="FILE",
        help="what `grounded-labeler tune` wrote: the tasks in it count as no review "
        "(default: tuned/tuned.json)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, help="with --sample: makes the same draw of the same tasks"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("accepted"),
        help="folder for the report and the review sample (default: accepted)",
    )  # fmt: skip
    return parser


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0.5 <= value < 1:  # nor "nan"
        raise argparse.ArgumentTypeError(f"it must be at least 0.5 and less than 1, not {text}")
    return value


def _overlap(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"it must be more than 0 and at most 1, not {text}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a whole number, at least 1, not {text}")
    return int(text)
