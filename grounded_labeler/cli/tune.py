"""Tune a project by what people annotated in it: phrases, thresholds and models.

For each label the best phrase and box threshold are chosen by cross-validation, so that what is
stated is what to expect of other images. The label config with these is written to a file, or with
--apply into the project. Nothing is changed that is not better beyond chance. It is safe to
interrupt: the same command goes on where it ended, and what was found is kept for the next one.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from grounded_labeler.cli.jobs import run_job
from grounded_labeler.parsing import parser_of
from grounded_labeler.quality.options import add_subject_options, check_subject_options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    1 when nothing could be done, 2 when some images were not measured.
    """
    options = _parse(argv)
    from grounded_labeler.quality import tune_command  # noqa: PLC0415 - `--help` must not wait

    return run_job(partial(tune_command.run, options), options.out)


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("tune", __doc__ or "")
    add_subject_options(parser, "tuned")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        "--precision", type=_floor,
        help="the most that can be found while at least this part of it is right, as 0.95; "
        "without this and --recall, the highest F1",
    )  # fmt: skip
    goal.add_argument(
        "--recall", type=_floor, help="the most precise while at least this part is found, as 0.9"
    )
    parser.add_argument(
        "--try", dest="tried", action="append", default=[], metavar='"LABEL: PHRASES"',
        help='phrases to try for a label, as "car: vehicle, sedan, -toy car"; may be repeated. '
        "Its value, its predicted values and their plurals are tried in any case",
    )  # fmt: skip
    parser.add_argument("--keep-phrases", action="store_true", help="choose thresholds alone")
    parser.add_argument(
        "--keep-models", action="store_true",
        help="do not compare the models of MODELS, where there are several",
    )  # fmt: skip
    parser.add_argument(
        "--apply", action="store_true",
        help="with --project: write the label config into the project, after showing the changes",
    )  # fmt: skip
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser()
    options = parser.parse_args(argv)
    check_subject_options(parser, options)
    if options.keep_phrases and options.tried:
        parser.error("--try is for phrases, which --keep-phrases leaves as they are")
    if options.apply and options.project is None:
        parser.error("--apply is for --project: a folder has no label config to write to")
    return options


def _floor(text: str) -> float:
    try:
        floor = float(text)
    except ValueError:
        floor = -1.0
    if not 0 < floor <= 1:  # nor "nan"
        raise argparse.ArgumentTypeError(f"it must be above 0 and at most 1, not {text}")
    return floor
