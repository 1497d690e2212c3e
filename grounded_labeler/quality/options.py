"""The options that commands share which measure: of which images, with which truth.

What takes time to import is imported where it is used: `--help` must be instant.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from grounded_labeler.parsing import project_number

if TYPE_CHECKING:
    from grounded_labeler.preannotate.running import Running
    from grounded_labeler.quality.subject import Subject
    from grounded_labeler.settings import Settings


def add_subject_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Add what says which images, whose truth, and how the models run; `out` is a folder."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--project", type=project_number,
        help="number of the project in Label Studio; its submitted annotations are the truth",
    )  # fmt: skip
    where.add_argument(
        "--images", type=Path, nargs="+", metavar="PATH",
        help="folders of images, or images; --truth says what is in them",
    )  # fmt: skip
    parser.add_argument(
        "--truth", type=Path, metavar="COCO.JSON",
        help="with --images: a COCO dataset that names the images by their paths there",
    )  # fmt: skip
    parser.add_argument(
        "--labels", help="with --images: the labels, as car,person (default: all of --truth)"
    )
    parser.add_argument(
        "--view", type=int, help="with --project: only the tasks of this tab of the data manager"
    )
    parser.add_argument(
        "--task-ids", type=int, nargs="+", metavar="ID", help="with --project: only these tasks"
    )
    parser.add_argument(
        "--annotator", type=_user, metavar="EMAIL",
        help="with --project: only what this person submitted, by e-mail address or number",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path(out), help=f"folder for what is written (default: {out})"
    )
    parser.add_argument(
        "--concurrency", type=int, default=4, help="images fetched at once (default: 4)"
    )
    parser.add_argument(
        "--ray", action="store_true",
        help="run on the Ray cluster at RAY_ADDRESS, or on all of this machine",
    )  # fmt: skip


def check_subject_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the command with a sentence where options do not go together."""
    if options.images and options.truth is None:
        parser.error("--images needs --truth, a COCO dataset")
    of_projects = (options.view, options.task_ids, options.annotator)
    if options.images and any(one is not None for one in of_projects):
        parser.error("--view, --task-ids and --annotator are for --project")
    if options.project is not None and (options.truth or options.labels):
        parser.error("--truth and --labels are for --images")
    if options.concurrency < 1:
        parser.error("--concurrency must be at least 1")


def subject_of(options: argparse.Namespace, settings: "Settings") -> "Subject":
    """Return the annotated images that the options name; raises as the two kinds of subject do."""
    if options.images:
        from grounded_labeler.quality.folder_truth import folder_subject  # noqa: PLC0415

        labels = None
        if options.labels is not None:
            labels = [name for part in options.labels.split(",") if (name := part.strip())]
        return folder_subject(options.images, options.truth, options.out, labels)
    from grounded_labeler.preannotate.plan import open_project  # noqa: PLC0415
    from grounded_labeler.quality.project_truth import project_subject  # noqa: PLC0415

    return project_subject(
        open_project(settings, options.project),
        settings,
        view=options.view,
        task_ids=options.task_ids,
        annotator=options.annotator,
    )


def _user(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def running_of(options: argparse.Namespace) -> "Running":
    """Return how the options say that the models run."""
    from grounded_labeler.preannotate.running import Running, runner_of  # noqa: PLC0415

    return Running(options.out, runner_of(ray=options.ray), options.concurrency)
