"""Measure how good predictions are against annotations, and write a report.

--project takes the submitted annotations of a project of Label Studio for the truth and only reads
it; --images takes a COCO dataset, --truth. The report is one HTML file that opens offline, with
all figures as JSON and CSV beside it. It is safe to interrupt: the same command goes on where it
ended, and what the models returned is kept, so that other thresholds need no second run.
The environment variables of the service choose the models and say where Label Studio is.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial

from grounded_labeler.cli.jobs import run_job
from grounded_labeler.parsing import STRETCH_HELP, parser_of
from grounded_labeler.quality.options import (
    add_subject_options,
    check_subject_options,
    running_of,
    subject_of,
)

_EXAMPLES = """\
examples:
  grounded-labeler evaluate --project 7
  grounded-labeler evaluate --images photos --truth photos/coco.json --prompt "red car -> Car"
  grounded-labeler evaluate --project 7 --compare now "detector=llmdet-tiny"
  grounded-labeler evaluate --project 7 --compare "prompt=car" "prompt=vehicle -> Car"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    1 when nothing could be measured, 2 when some images could not.
    """
    options = _parse(argv)
    return run_job(partial(_run, options), options.out)


def _run(options: argparse.Namespace) -> int:
    # `--help` must not wait for these.
    from grounded_labeler.quality.candidates import Variant  # noqa: PLC0415
    from grounded_labeler.quality.compare import compare_variants  # noqa: PLC0415
    from grounded_labeler.quality.evaluate import Measuring, evaluate  # noqa: PLC0415
    from grounded_labeler.quality.report.files import check_replaceable  # noqa: PLC0415
    from grounded_labeler.quality.variants import read_changes  # noqa: PLC0415
    from grounded_labeler.settings import Settings  # noqa: PLC0415

    settings = Settings.from_env(os.environ)
    if options.stretch:
        settings = settings.model_copy(update={"stretch": True})
    measuring = Measuring(options.floor, not options.no_masks)
    # What is wrong with the command line is said before Label Studio is asked.
    changes = [read_changes(text) for text in options.compare or ()]
    check_replaceable(options.out, options.truth)
    running, subject = running_of(options), subject_of(options, settings)
    if not changes:
        variant = Variant(options.prompt)
        return evaluate(subject, variant, settings, running, measuring)
    a, b = changes
    return compare_variants(
        subject, (a, b), settings, running, prompt=options.prompt, measuring=measuring
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser()
    options = parser.parse_args(argv)
    check_subject_options(parser, options)
    return options


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("evaluate", __doc__ or "", _EXAMPLES)
    add_subject_options(parser, "evaluated")
    parser.add_argument(
        "--prompt", help="what to look for, instead of what the project or the labels say"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help='compare two ways to label; each is "now", or what differs, as "prompt=car", '
        '"detector=llmdet-tiny;box_threshold=0.4" or "label_config=new.xml" (also segmenter, '
        "text_threshold, nms_threshold)",
    )
    parser.add_argument(
        "--floor",
        type=_floor,
        default=0.05,
        help="the lowest score that is kept and that average precision counts (default: 0.05)",
    )
    parser.add_argument("--stretch", action="store_true", help=STRETCH_HELP)
    parser.add_argument(
        "--no-masks", action="store_true", help="measure boxes alone, also where there are masks"
    )
    return parser


def _floor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1:  # nor "nan"
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 1, not {text}")
    return value
