"""Label many images with one command.

--project labels the tasks of a project of Label Studio and imports predictions; with --export it
writes a COCO dataset and only reads Label Studio. --images labels a folder and writes a COCO
dataset. It is safe to interrupt: the same command goes on where it ended. The environment
variables of the service choose the models and say where Label Studio is.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.cli.jobs import run_job
from grounded_labeler.parsing import STRETCH_HELP, parser_of, project_number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    1 when nothing could be done, 2 when some tasks failed.
    """
    options = _parse(argv)
    from grounded_labeler.preannotate import jobs  # noqa: PLC0415 - `--help` must not wait for it

    def job() -> int:
        if options.images:
            return jobs.label_folder(options)
        return jobs.export_project(options) if options.export else jobs.label_project(options)

    return run_job(job, options.out)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser()
    options = parser.parse_args(argv)
    if options.images and (options.view or options.task_ids or options.export):
        parser.error("--view, --task-ids and --export are for --project")
    if options.images and options.labels is None:
        parser.error("--images needs --labels, as car,person")
    if options.project is not None and options.labels is not None:
        parser.error("--labels is for --images")
    return options


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("preannotate", __doc__ or "")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--project", type=project_number, help="number of the project in Label Studio"
    )
    where.add_argument(
        "--images", type=Path, nargs="+", metavar="PATH", help="folders of images, or images"
    )
    parser.add_argument("--labels", help="with --images: the labels, as car,person")
    parser.add_argument(
        "--view", type=int, help="with --project: only the tasks of this tab of the data manager"
    )
    parser.add_argument(
        "--task-ids", type=int, nargs="+", metavar="ID", help="with --project: only these tasks"
    )
    parser.add_argument(
        "--prompt", help="what to look for, instead of what the project or the labels say"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("preannotated"),
        help="folder for the report, the journal and a dataset (default: preannotated)",
    )
    parser.add_argument(
        "--min-score", type=float, help="minimum score, instead of every other threshold"
    )
    parser.add_argument(
        "--group-duplicates",
        action="store_true",
        help="find frames of one scene: groups.json and, with --project, a group in the task data",
    )
    parser.add_argument("--stretch", action="store_true", help=STRETCH_HELP)
    parser.add_argument("--limit", type=_count, help="process at most LIMIT more images")
    parser.add_argument(
        "--concurrency", type=_count, default=4, help="images fetched at once (default: 4)"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="predict again for tasks and images that have a prediction",
    )
    parser.add_argument(
        "--export", type=Path, metavar="COCO.JSON",
        help="with --project: write this dataset and leave the project as it is",
    )  # fmt: skip
    parser.add_argument(
        "--ray",
        action="store_true",
        help="run on the Ray cluster at RAY_ADDRESS, or on all of this machine",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and write nothing"
    )
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return count
