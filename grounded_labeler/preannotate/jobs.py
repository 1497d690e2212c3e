"""The three runs: a folder to a COCO dataset, a project to its predictions or to a dataset."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from grounded_labeler import logs
from grounded_labeler.console import tell
from grounded_labeler.inference.loader import check_ray
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.dataset import Dataset, check_replaceable
from grounded_labeler.preannotate.image_folder import read_folder
from grounded_labeler.preannotate.journal import Journal, refuse_other
from grounded_labeler.preannotate.label_studio_api import Project
from grounded_labeler.preannotate.local_runner import (
    Engine,
    Predictions,
    Run,
    keep_all,
    run_locally,
)
from grounded_labeler.preannotate.names import DATASET, FAILURES, JOURNAL, LOG, SHEET, readable
from grounded_labeler.preannotate.pictures import Pictures
from grounded_labeler.preannotate.plan import folder_run, project_run, which_thresholds
from grounded_labeler.preannotate.progress import shown
from grounded_labeler.preannotate.report import Summary, write_failures, write_sheet
from grounded_labeler.preannotate.sources import ProjectSource, Source
from grounded_labeler.preannotate.tasks_left import tasks_left, untried_first

Keep = Callable[[Predictions], None]


def label_folder(options: argparse.Namespace) -> int:
    """Answer for the images of `--images`; returns the exit code."""
    folder = read_folder(options.images, options.out)
    run = folder_run(options)
    if folder.said:
        tell(folder.said)
    return _to_dataset(run, folder, folder.tasks, options.out / DATASET, options)


def export_project(options: argparse.Namespace) -> int:
    """Answer for the tasks of `--project`, into a dataset of ours; returns the exit code."""
    project, run = project_run(options)
    new, done = _tasks(project, run, options)
    tasks = sorted([*new, *done], key=lambda task: int(task["id"]))
    return _to_dataset(run, _source(project, run), tasks, options.export, options)


def label_project(options: argparse.Namespace) -> int:
    """Answer for the tasks of `--project` that have no prediction yet; returns the exit code."""
    project, run = project_run(options)
    source = _source(project, run)
    if options.overwrite:
        return _overwrite_project(project, run, source, options)
    refuse_other(options.out / JOURNAL, (source.identity, source.name))
    new, done = _tasks(project, run, options)
    return _to_project(
        run, new, len(done), options, lambda predictions: project.add(predictions, run.version)
    )


def _overwrite_project(
    project: Project, run: Run, source: Source, options: argparse.Namespace
) -> int:
    # Tasks look the same once they are overwritten: which are is written down until all are.
    with _journal(options, source, f"{run.version} in Label Studio") as journal:
        new, done = _tasks(project, run, options)

        def replace(predictions: Predictions) -> None:
            project.replace(predictions, run.version)
            journal.mark_overwritten({task: "result" in one for task, one in predictions.items()})

        tasks, seen = [*new, *done], journal.overwritten()
        left = untried_first(tasks, {task for task, done in seen.items() if done}, seen)
        code = _to_project(run, left, len(tasks) - len(left), options, replace)
        if not options.dry_run:
            if len(left) <= (options.limit or len(left)):
                journal.end_overwriting(task["id"] for task in tasks)
            journal.remove_if_empty()
    return code


def _source(project: Project, run: Run) -> Source:
    targets = tuple(query.target for query in run.queries)
    return ProjectSource(project.url, project.number, project.created(), targets)


def _tasks(
    project: Project, run: Run, options: argparse.Namespace
) -> tuple[list[Task], list[Task]]:
    only = None if options.task_ids is None else frozenset(options.task_ids)
    return project.tasks(run.version, options.view, only)


def _journal(options: argparse.Namespace, source: Source, version: str) -> "closing[Journal]":
    whose = (source.identity, source.name)
    return closing(Journal(options.out / JOURNAL, whose, version, dry=options.dry_run))


def _to_project(
    run: Run, left: Sequence[Task], done: int, options: argparse.Namespace, keep: Keep
) -> int:
    later = len(left[options.limit :]) if options.limit else 0
    left = left[: options.limit]
    if _tell(run, len(left) + later + done, left, options):
        return 0
    summary = _answer(run, left, done, options, keep)
    return _finish(summary, run, left, options.out)


def _to_dataset(
    run: Run, source: Source, tasks: Sequence[Task], path: Path, options: argparse.Namespace
) -> int:
    check_replaceable(path)
    with _journal(options, source, run.version) as journal:
        every = tasks_left(journal, source, tasks, options)
        left = every[: options.limit]
        if _tell(run, len(tasks), left, options):
            return 0
        dataset = Dataset(path, source, tasks, run.queries, journal)
        known = {task["id"]: task for task in tasks}

        def keep(predictions: Predictions) -> None:
            journal.add(
                [(i, source.content_seen(known[i], one), one) for i, one in predictions.items()],
                overwriting=options.overwrite,
            )
            dataset.grow()

        try:
            _answer(run, left, len(tasks) - len(every), options, keep)
        except BaseException:
            dataset.write_news()
            raise
        dataset.write()
        if options.overwrite and len(left) == len(every):
            journal.end_overwriting(known)
        summary = Summary()
        summary.add((i, one) for i in known if (one := journal.prediction(i)) is not None)
    return _finish(summary, run, tasks, options.out)


def _tell(run: Run, total: int, left: Sequence[Task], options: argparse.Namespace) -> bool:
    """Say what will be done; whether that is all."""
    phrases = ", ".join(phrase.text for phrase in run.queries[0].prompt.phrases)
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
        return run_locally
    check_ray("--ray")
    from grounded_labeler.preannotate.ray_runner import predictions_on_ray  # noqa: PLC0415 - an extra

    return predictions_on_ray


def _finish(summary: Summary, run: Run, tasks: Sequence[Task], out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    write_failures(summary.failures, out / FAILURES)
    by_id = {task["id"]: task for task in tasks}
    images, target = Pictures(run), run.queries[0].target
    write_sheet(
        summary.shown, target.name, lambda number: images.image(by_id[number], target),
        out / SHEET,
    )  # fmt: skip
    summary.print()
    tell(f"Written to {readable(str(out))}")
    return 2 if summary.failures else 0
