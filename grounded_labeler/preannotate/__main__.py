"""Many pictures, labelled by one command: `python -m grounded_labeler.preannotate`.

With --project, those of a project of Label Studio: what is found is imported as its
predictions, or with --export becomes a COCO dataset and Label Studio is only read. With
--images, those of a folder: what is found becomes a COCO dataset. It can be stopped at any
moment: run again, it goes on where it was. The environment variables of the service choose
the models, and say where Label Studio is.
"""

if __name__ == "__main__":  # before the imports below, which take seconds
    from grounded_labeler.interrupts import run_command

    run_command("grounded_labeler.preannotate.__main__")

import argparse
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.errors import GroundedLabelerError, NotReady, sentence_of
from grounded_labeler.interrupts import check, finishing
from grounded_labeler.preannotate.jobs import export_project, label_folder, label_project
from grounded_labeler.preannotate.names import LOG


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    1 when nothing could be done, 2 when some tasks failed.
    """
    options = _parse(argv)
    try:
        with finishing():
            if options.images:
                return label_folder(options)
            return export_project(options) if options.export else label_project(options)
    except NotReady as error:
        log = options.out / LOG
        sentence = f"{error} See {log}." if log.is_file() else str(error)
    except GroundedLabelerError as error:
        sentence = str(error)
    except OSError as error:
        sentence = f"The run cannot go on: {sentence_of(error)}"
    except sqlite3.Error as error:
        sentence = f"The run cannot go on: the journal in {options.out} says {error}."
    check()
    sys.stderr.write(f"{sentence}\n")
    return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m grounded_labeler.preannotate", description=__doc__
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--project", type=int, help="number of the project in Label Studio")
    where.add_argument(
        "--images", type=Path, nargs="+", metavar="PATH", help="folders of images, or images"
    )
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
    parser.add_argument("--limit", type=_count, help="look at so many more images at most")
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
