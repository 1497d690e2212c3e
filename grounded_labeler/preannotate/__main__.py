"""Many pictures, labelled by one command: `python -m grounded_labeler.preannotate`.

With --project, those of a project of Label Studio: what is found is imported as its
predictions, or with --export becomes a COCO dataset and Label Studio is only read. With
--images, those of a folder: what is found becomes a COCO dataset. It can be stopped at any
moment: run again, it goes on where it was. The environment variables of the service choose
the models, and say where Label Studio is.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.preannotate.commands import export_project, label_folder, label_project
from grounded_labeler.weights import INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    1 when nothing could be done, 2 when some tasks failed.
    """
    options = _parse(argv)
    logging.basicConfig(level=logging.CRITICAL)  # failures are in the summary and in a file
    try:
        if options.images:
            return label_folder(options)
        return export_project(options) if options.export else label_project(options)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; run the same command to go on where it ended.\n")
        return INTERRUPTED


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m grounded_labeler.preannotate", description=__doc__
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--project", type=int, help="number of the project in Label Studio")
    where.add_argument("--images", type=Path, help="folder of pictures")
    parser.add_argument("--labels", help="with --images: the labels, as car,person")
    parser.add_argument("--view", type=int, help="with --project: only this tab of it")
    parser.add_argument(
        "--task-ids", type=int, nargs="+", metavar="ID", help="with --project: only these tasks"
    )
    parser.add_argument("--prompt", help="what to look for, instead of the labels themselves")
    parser.add_argument(
        "--out", type=Path, default=Path("preannotated"), help="folder of what is written"
    )
    parser.add_argument("--min-score", type=float, help="least score, whatever else says one")
    parser.add_argument("--limit", type=_count, help="look at so many pictures at most")
    parser.add_argument(
        "--concurrency", type=_count, default=4, help="pictures fetched at once (default: 4)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="ask again about those that have an answer"
    )
    parser.add_argument(
        "--export", type=Path, metavar="COCO.JSON",
        help="with --project: write this dataset and leave the project as it is",
    )  # fmt: skip
    parser.add_argument(
        "--ray",
        action="store_true",
        help="on the Ray cluster at RAY_ADDRESS, or all of this machine",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    options = parser.parse_args(argv)
    if options.images and (options.view or options.task_ids or options.export):
        parser.error("--view, --task-ids and --export are for --project")
    if options.images and options.labels is None:
        parser.error("--images needs --labels, as car,person")
    if options.project is not None and options.labels is not None:
        parser.error("--labels is for --images")
    return options


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
