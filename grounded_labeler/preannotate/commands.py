"""The three runs: a folder to a COCO dataset, a project to its predictions or to a dataset."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from grounded_labeler import logs
from grounded_labeler.errors import ImageError
from grounded_labeler.loading import check_ray
from grounded_labeler.looks import Task, address_of
from grounded_labeler.preannotate.coco import Answered, file_name, to_coco
from grounded_labeler.preannotate.console import tell
from grounded_labeler.preannotate.folder import tasks_of
from grounded_labeler.preannotate.journal import Journal
from grounded_labeler.preannotate.pictures import Pictures
from grounded_labeler.preannotate.prepare import folder_run, project_run, which_thresholds
from grounded_labeler.preannotate.progress import shown
from grounded_labeler.preannotate.project import Project
from grounded_labeler.preannotate.run import Engine, Predictions, Run, keep_all, predictions_here
from grounded_labeler.preannotate.summary import Summary, write_failures, write_sheet

Keep = Callable[[Predictions], None]

LOG = "log.txt"  # in --out: what the service would log


def label_folder(options: argparse.Namespace) -> int:
    """Answer for the pictures under `--images`; returns the exit code."""
    run = folder_run(options)
    return _to_dataset(run, tasks_of(options.images), options.out / "coco.json", options)


def export_project(options: argparse.Namespace) -> int:
    """Answer for the tasks of `--project`, into a dataset of ours; returns the exit code."""
    project, run = project_run(options)
    new, done = _tasks(project, run, options)
    return _to_dataset(run, [*new, *done], options.export, options)


def label_project(options: argparse.Namespace) -> int:
    """Answer for the tasks of `--project` that have no prediction yet; returns the exit code."""
    project, run = project_run(options)
    new, done = _tasks(project, run, options)
    if not options.overwrite:
        return _to_project(
            run, new, len(done), options, lambda predictions: project.add(predictions, run.version)
        )
    # Tasks look the same once they are overwritten: which are is written down until all are.
    with _journal(options, f"overwrite {run.project} {run.version}") as journal:

        def replace(predictions: Predictions) -> None:
            project.replace(predictions, run.version)
            answered = (task for task, one in predictions.items() if "result" in one)
            journal.add({task: {"result": []} for task in answered})

        left = _not_in(journal, [*new, *done])
        code = _to_project(run, left, len(new) + len(done) - len(left), options, replace)
        if not options.dry_run:
            journal.forget()
    return code


def _tasks(
    project: Project, run: Run, options: argparse.Namespace
) -> tuple[list[Task], list[Task]]:
    only = None if options.task_ids is None else frozenset(options.task_ids)
    return project.tasks(run.version, options.view, only)


def _journal(options: argparse.Namespace, version: str) -> "closing[Journal]":
    return closing(Journal(options.out / "journal.sqlite3", version, read_only=options.dry_run))


def _not_in(journal: Journal, tasks: Sequence[Task]) -> list[Task]:
    answered = journal.answered()
    return [task for task in tasks if str(task["id"]) not in answered]


def _to_project(
    run: Run, left: Sequence[Task], done: int, options: argparse.Namespace, keep: Keep
) -> int:
    left = left[: options.limit]
    if _tell(run, len(left) + done, left, options):
        return 0
    summary = _answer(run, left, done, options, keep)
    return _finish(summary, run, left, options.out)


def _to_dataset(run: Run, tasks: Sequence[Task], dataset: Path, options: argparse.Namespace) -> int:
    tasks = tasks[: options.limit]
    with _journal(options, f"{run.project} {run.version}".strip()) as journal:
        if options.overwrite and not options.dry_run:
            journal.forget()
        left = _not_in(journal, tasks)
        if _tell(run, len(tasks), left, options):
            return 0
        _answer(run, left, len(tasks) - len(left), options, journal.add)
        known = {str(task["id"]): task for task in tasks}
        labels = [label.value for question in run.questions for label in question.target.labels]
        made = to_coco(dict.fromkeys(labels), _pictures(run, journal, known))
        dataset.parent.mkdir(parents=True, exist_ok=True)
        dataset.write_text(json.dumps(made), encoding="utf-8")
        summary = Summary()
        summary.add((task, one) for task, one in journal.predictions() if task in known)
    return _finish(summary, run, tasks, options.out)


def _pictures(run: Run, journal: Journal, known: Mapping[str, Task]) -> Iterator[Answered]:
    """What was answered about these tasks, picture by picture."""
    pictures = Pictures(run.settings)
    for number, prediction in journal.predictions():
        if number not in known or "result" not in prediction:
            continue
        task = known[number]
        for question in run.questions:
            target = question.target
            regions = [one for one in prediction["result"] if one["to_name"] == target.name]
            if regions:
                size_wh = (regions[0]["original_width"], regions[0]["original_height"])
            else:
                try:
                    size_wh = pictures.size_wh(task, target)
                except ImageError:
                    continue  # it was there before; without a size it can be no part of a dataset
            yield Answered(file_name(address_of(task, target)), size_wh, regions)


def _tell(run: Run, total: int, left: Sequence[Task], options: argparse.Namespace) -> bool:
    """Say what will be done; whether that is all."""
    phrases = ", ".join(phrase.text for phrase in run.questions[0].prompt.phrases)
    phrases = phrases or "the labels of each task"
    tell(
        f"{total} tasks, {len(left)} of them to look at, for: {phrases}; "
        f"{which_thresholds(run, options)}"
    )
    return bool(options.dry_run)


def _answer(
    run: Run, left: Sequence[Task], done: int, options: argparse.Namespace, keep: Keep
) -> Summary:
    """Answer what is left and let `keep` have it, shown from what is `done` on."""
    summary = Summary()
    if not left:
        return summary
    options.out.mkdir(parents=True, exist_ok=True)
    with (
        logs.written_to(options.out / LOG, run.settings),
        closing(_engine(options)(run, left, options.concurrency)) as predictions,
        shown(summary, done, done + len(left)) as show,
    ):
        keep_all(predictions, keep, show)
    return summary


def _engine(options: argparse.Namespace) -> Engine:
    if not options.ray:
        return predictions_here
    check_ray("--ray")
    from grounded_labeler.preannotate.on_ray import predictions_on_ray  # noqa: PLC0415 - an extra

    return predictions_on_ray


def _finish(summary: Summary, run: Run, tasks: Sequence[Task], out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    write_failures(summary.failures, out / "failures.tsv")
    by_id = {str(task["id"]): task for task in tasks}
    pictures, target = Pictures(run.settings), run.questions[0].target
    write_sheet(
        summary.shown, target.name, lambda number: pictures.image(by_id[str(number)], target),
        out / "sheet.jpg",
    )  # fmt: skip
    summary.print()
    tell(f"Written to {out}")
    return 2 if summary.failures else 0
