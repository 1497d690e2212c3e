"""Write what was found or annotated as a dataset to train with, in one form or several.

--run takes the folder that `preannotate` wrote a dataset into; --project takes the annotations of
a project of Label Studio and only reads it. Images that were looked at and hold nothing are in the
dataset; those that could not be looked at are listed in left-out.tsv. Nothing is written unless
all is. Environment variables say where Label Studio is.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grounded_labeler.cli.jobs import run_job
from grounded_labeler.parsing import STRETCH_HELP, parser_of, project_number

if TYPE_CHECKING:
    from grounded_labeler.exports.types import ExportDataset
    from grounded_labeler.settings import Settings

FORMATS = ("coco", "yolo", "yolo-seg", "yolo-obb", "voc", "cvat", "label-studio", "png")

_EXAMPLES = """\
examples:
  grounded-labeler export --run cars --format coco --out dataset
  grounded-labeler export --run cars --format yolo-seg,voc --split 0.8/0.1/0.1 --out dataset
  grounded-labeler export --project 7 --reviewed --format coco --out dataset
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    1 when nothing could be written, 2 when some images were left out.
    """
    options = _parse(argv)

    def job() -> int:
        # `--help` must not wait for these.
        from grounded_labeler.exports.split import Split  # noqa: PLC0415
        from grounded_labeler.exports.writing import Writing, write_dataset  # noqa: PLC0415
        from grounded_labeler.settings import Settings  # noqa: PLC0415

        settings = Settings.from_env(os.environ)
        split = Split(options.split, options.seed, options.group_by)
        writing = Writing(
            options.out,
            options.format,
            split,
            options.images,
            settings.max_image_pixels,
            stretch=options.stretch or settings.stretch,
        )
        writing.check()
        return write_dataset(_dataset(options, settings), writing)

    return run_job(job, options.out)


def _dataset(options: argparse.Namespace, settings: "Settings") -> "ExportDataset":
    if options.run is not None:
        from grounded_labeler.exports.run_source import read_run  # noqa: PLC0415

        return read_run(settings, options.run, needs_files=options.images != "none")
    from grounded_labeler.exports.project_source import read_project  # noqa: PLC0415

    return read_project(
        settings,
        options.project,
        reviewed=options.reviewed,
        accepted=options.accepted,
        view=options.view,
        task_ids=options.task_ids,
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser()
    options = parser.parse_args(argv)
    of_projects = (options.view, options.task_ids)
    if options.project is None and (
        options.reviewed or options.accepted or any(one is not None for one in of_projects)
    ):
        parser.error("--reviewed, --accepted, --view and --task-ids are for --project")
    return options


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("export", __doc__ or "", _EXAMPLES)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--run", type=Path, metavar="DIR", help="the --out folder of a run of `preannotate`"
    )
    where.add_argument(
        "--project", type=project_number, help="number of the project in Label Studio"
    )
    parser.add_argument(
        "--reviewed",
        action="store_true",
        help="with --project, which needs it: what people submitted",
    )
    parser.add_argument(
        "--accepted",
        action="store_true",
        help="with --project: where no person submitted anything, take what "
        "`grounded-labeler accept` accepted, too",
    )
    parser.add_argument(
        "--view", type=int, help="with --project: only the tasks of this tab of the data manager"
    )
    parser.add_argument(
        "--task-ids", type=int, nargs="+", metavar="ID", help="with --project: only these tasks"
    )
    parser.add_argument(
        "--format",
        type=_formats,
        required=True,
        metavar="FORMATS",
        help=f"one or more of {', '.join(FORMATS)}, with commas between them",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the dataset, with one for each form"
    )
    parser.add_argument(
        "--split",
        type=_shares,
        default=(1.0,),
        metavar="SHARES",
        help="shares of train and val, as 0.8/0.2, or of train, val and test, as 0.8/0.1/0.1 "
        "(default: all in train)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed makes the same split (default: 0)"
    )
    parser.add_argument(
        "--group-by",
        choices=("folder", "near-duplicate", "none"),
        metavar="HOW",
        help="folder, near-duplicate or none: which images stay on one side of a split (default: "
        "near-duplicates where the source knows them)",
    )
    parser.add_argument(
        "--images",
        choices=("copy", "link", "none"),
        default="copy",
        metavar="HOW",
        help="copy: the image files; link: to those on this machine that need no change; none: "
        "write no image files (default: copy)",
    )
    parser.add_argument("--stretch", action="store_true", help=STRETCH_HELP)
    return parser


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not one or more of {', '.join(FORMATS)}, with commas between them"
        )
    return names


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(map(float, text.split("/")))
    except ValueError:
        shares = ()
    if not (1 <= len(shares) <= 3 and all(0 <= one <= 1 for one in shares)):
        shares = ()
    if abs(sum(shares) - 1) > 1e-6:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be up to three shares that add up to 1, as 0.8/0.1/0.1"
        )
    return shares
