"""A folder of pictures, labelled by one command: `python -m grounded_labeler.preannotate`.

Looks for the labels, or for what the prompt names, in every picture under --images, and
writes a COCO dataset, a sheet of pictures with what was found, and what failed. It can be
stopped at any moment: run again, it goes on where it was. The environment variables of the
service choose the models.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from grounded_labeler.answers import Prediction
from grounded_labeler.errors import GroundedLabelerError, PromptError
from grounded_labeler.images import decode
from grounded_labeler.label_config import read_label_config
from grounded_labeler.looks import Task
from grounded_labeler.preannotate.coco import to_coco
from grounded_labeler.preannotate.folder import config_of, size_of, tasks_of
from grounded_labeler.preannotate.journal import Journal
from grounded_labeler.preannotate.run import Run
from grounded_labeler.preannotate.summary import Summary, write_failures, write_sheet
from grounded_labeler.questions import standing_questions
from grounded_labeler.service import Service, check_weights, start_service
from grounded_labeler.settings import Settings
from grounded_labeler.weights import INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    1 when nothing could be done, 2 when some pictures failed.
    """
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.CRITICAL)  # failures are in the summary and in a file
    try:
        return _label_folder(options)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; run the same command to go on where it ended.\n")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grounded_labeler.preannotate", description=__doc__
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--labels", required=True, help="the labels: car,person")
    parser.add_argument("--prompt", help="what to look for, instead of the labels themselves")
    parser.add_argument(
        "--out", type=Path, default=Path("preannotated"), help="folder of what is written"
    )
    parser.add_argument("--min-score", type=float, help="least score, instead of BOX_THRESHOLD")
    parser.add_argument("--limit", type=int, help="look at so many pictures at most")
    parser.add_argument("--overwrite", action="store_true", help="ask again about all of them")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    return parser


def _label_folder(options: argparse.Namespace) -> int:
    settings = _settings(options)
    labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    config = read_label_config(config_of(labels))
    questions = standing_questions(config, settings, lambda _: options.prompt)
    if not questions:
        raise PromptError('Nothing is asked: name labels, as "car,person", or a prompt.')
    tasks = tasks_of(options.images)[: options.limit]
    check_weights(settings)
    run = Run(settings, config, questions)
    console = Console()
    with Journal(options.out / "journal.sqlite3", run.version) as journal:
        if options.overwrite and not options.dry_run:
            journal.forget()
        left = _left(tasks, journal)
        phrases = ", ".join(phrase.text for phrase in questions[0].prompt.phrases)
        console.print(f"{len(tasks)} pictures, {len(left)} of them to look at, for: {phrases}")
        if options.dry_run:
            return 0
        if left:
            service = start_service(settings)
            service.pipeline.result()
            _answer(run, service, left, journal, len(tasks))
        chosen = {str(task["id"]) for task in tasks}
        answers = [(task, one) for task, one in journal.predictions() if task in chosen]
    summary = Summary.of(answers)
    _write(options, labels, answers, summary)
    summary.print(console)
    console.print(f"Written to {options.out}")
    return 2 if summary.failures else 0


def _settings(options: argparse.Namespace) -> Settings:
    asked = {
        "OUTPUT": "both",
        "PREANNOTATE": "labels" if options.prompt is None else "last_prompt",
        "LOCAL_FILES_ROOT": str(options.images),
        # Nobody waits who would give up.
        "REQUEST_DEADLINE": "1e9",
        "DATA_DIR": str(options.out),
    }
    if options.min_score is not None:
        asked["BOX_THRESHOLD"] = str(options.min_score)
    return Settings.from_env({**os.environ, **asked})


def _left(tasks: Sequence[Task], journal: Journal) -> list[Task]:
    answered = journal.answered()
    return [task for task in tasks if task["id"] not in answered]


def _answer(run: Run, service: Service, left: Sequence[Task], journal: Journal, total: int) -> None:
    regions = failures = 0
    with tqdm(total=total, initial=total - len(left), unit="picture") as bar:

        def tell(predictions: Sequence[Prediction]) -> None:
            nonlocal regions, failures
            for one in predictions:
                boxes = [r for r in one.get("result", ()) if r["type"] == "rectanglelabels"]
                regions += len(boxes)
                failures += "result" not in one
            bar.update(len(predictions))
            bar.set_postfix(regions=regions, failures=failures)

        run.answer(service, left, journal, tell)


def _write(
    options: argparse.Namespace,
    labels: Sequence[str],
    answers: Sequence[tuple[str, Prediction]],
    summary: Summary,
) -> None:
    dataset = to_coco(labels, answers, lambda name: size_of(options.images / name))
    (options.out / "coco.json").write_text(json.dumps(dataset), encoding="utf-8")
    write_failures(summary.failures, options.out / "failures.tsv")
    write_sheet(
        summary.shown,
        lambda name: decode((options.images / name).read_bytes()),
        options.out / "sheet.jpg",
    )


if __name__ == "__main__":
    sys.exit(main())
