"""The three runs: a folder to a COCO dataset, a project to its predictions or to a dataset."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from grounded_labeler.console import tell
from grounded_labeler.core.inference import Failure
from grounded_labeler.core.types import RGBImage
from grounded_labeler.images.decode import decode
from grounded_labeler.label_studio.task_images import Task, address_of
from grounded_labeler.preannotate.dataset import Dataset, check_replaceable
from grounded_labeler.preannotate.exporters.coco import write_coco
from grounded_labeler.preannotate.exporters.label_studio import to_predictions
from grounded_labeler.preannotate.first_line import describe_run
from grounded_labeler.preannotate.groups import Grouping, write_to_tasks
from grounded_labeler.preannotate.image_folder import read_folder
from grounded_labeler.preannotate.journal import Journal, refuse_other, tasks_left, untried_first
from grounded_labeler.preannotate.names import DATASET, FAILURES, JOURNAL, SHEET, readable
from grounded_labeler.preannotate.plan import folder_run, overrides_of, project_run
from grounded_labeler.preannotate.report import Summary, write_failures, write_sheet
from grounded_labeler.preannotate.results import TaskId, TaskOutcomes
from grounded_labeler.preannotate.run import Keep, Run, images_of
from grounded_labeler.preannotate.running import Running, run_models, runner_of
from grounded_labeler.preannotate.sources import ProjectSource, Source

if TYPE_CHECKING:
    from grounded_labeler.label_studio_api.project import Project


def label_folder(options: argparse.Namespace) -> int:
    """Label the images of `--images`; returns the exit code."""
    folder = read_folder(options.images, options.out)
    run = folder_run(options)
    if folder.said:
        tell(folder.said)
    return _to_dataset(run, folder, folder.tasks, options.out / DATASET, options)


def export_project(options: argparse.Namespace) -> int:
    """Label the tasks of `--project`, into a dataset of ours; returns the exit code."""
    project, run = project_run(options)
    new, done = _tasks(project, run, options)
    tasks = sorted([*new, *done], key=lambda task: int(task["id"]))
    return _to_dataset(run, _source(project, run), tasks, options.export, options)


def label_project(options: argparse.Namespace) -> int:
    """Label the tasks of `--project` that have no prediction yet; returns the exit code."""
    project, run = project_run(options)
    source = _source(project, run)
    if options.overwrite:
        return _overwrite_project(project, run, source, options)
    refuse_other(options.out / JOURNAL, (source.identity, source.name))
    new, done = _tasks(project, run, options)
    known, grouping = _by_id(new), _grouping(options, run, source)

    def keep(outcomes: TaskOutcomes) -> None:
        if grouping is not None:
            outcomes = grouping.take(outcomes)
        project.add(to_predictions(run, known, outcomes), run.version)

    code = _to_project(run, new, len(done), options, keep)
    _group_tasks(project, grouping, [*new, *done])
    return code


def _overwrite_project(
    project: "Project", run: Run, source: Source, options: argparse.Namespace
) -> int:
    # Tasks look the same once they are overwritten: which are is written down until all are.
    with _journal(options, source, f"{run.version} in Label Studio") as journal:
        new, done = _tasks(project, run, options)
        tasks, seen = [*new, *done], journal.overwritten()
        known, grouping = _by_id(tasks), _grouping(options, run, source)

        def replace(outcomes: TaskOutcomes) -> None:
            if grouping is not None:
                outcomes = grouping.take(outcomes)
            project.replace(to_predictions(run, known, outcomes), run.version)
            journal.mark_overwritten(
                {task: not isinstance(one, Failure) for task, one in outcomes.items()}
            )

        left = untried_first(tasks, {task for task, done in seen.items() if done}, seen)
        code = _to_project(run, left, len(tasks) - len(left), options, replace)
        _group_tasks(project, grouping, tasks)
        if not options.dry_run:
            if len(left) <= (options.limit or len(left)):
                journal.end_overwriting(known)
            journal.remove_if_empty()
    return code


def _grouping(options: argparse.Namespace, run: Run, source: Source) -> Grouping | None:
    """What groups the tasks, where that is asked for; embeddings of other images do not compare."""
    if not options.group_duplicates or options.dry_run:
        return None
    return Grouping(options.out, f"{run.version} {source.identity}")


def _group_tasks(project: "Project", grouping: Grouping | None, tasks: Sequence[Task]) -> None:
    if grouping is not None:
        write_to_tasks(grouping.write(tasks), tasks, project.write_data)


def _source(project: "Project", run: Run) -> Source:
    targets = tuple(query.target for query in run.queries)
    return ProjectSource(project.url, project.number, project.created(), targets)


def _tasks(
    project: "Project", run: Run, options: argparse.Namespace
) -> tuple[list[Task], list[Task]]:
    only = None if options.task_ids is None else frozenset(options.task_ids)
    return project.tasks(run.version, options.view, only)


def _by_id(tasks: Sequence[Task]) -> dict[TaskId, Task]:
    return {task["id"]: task for task in tasks}


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
    summary = run_models(run, left, done, _running(options), keep)
    return _finish(summary, run, left, options.out)


def _to_dataset(
    run: Run, source: Source, tasks: Sequence[Task], path: Path, options: argparse.Namespace
) -> int:
    check_replaceable(path)
    with _journal(options, source, run.version) as journal:
        every = tasks_left(
            journal, source, tasks,
            concurrency=options.concurrency, overwrite=options.overwrite, dry=options.dry_run,
        )  # fmt: skip
        left = every[: options.limit]
        if _tell(run, len(tasks), left, options):
            return 0
        dataset = Dataset(
            path, source, tasks, run.queries, journal,
            export=write_coco, stretch=run.settings.stretch,
        )  # fmt: skip
        known, grouping = _by_id(tasks), _grouping(options, run, source)

        def keep(outcomes: TaskOutcomes) -> None:
            if grouping is not None:
                outcomes = grouping.take(outcomes)
            rows = [
                (i, None if isinstance(one, Failure) else source.content_seen(known[i], one), one)
                for i, one in outcomes.items()
            ]
            journal.add(rows, overwriting=options.overwrite)
            dataset.grow()

        try:
            run_models(run, left, len(tasks) - len(every), _running(options), keep)
        except BaseException:
            dataset.write_news()
            raise
        dataset.write()
        if grouping is not None:
            grouping.write(tasks)
        if options.overwrite and len(left) == len(every):
            journal.end_overwriting(known)
        summary = Summary()
        summary.add((i, one) for i in known if (one := journal.outcome(i)) is not None)
    return _finish(summary, run, tasks, options.out)


def _tell(run: Run, total: int, left: Sequence[Task], options: argparse.Namespace) -> bool:
    """Say what will be done; whether that is all."""
    said = describe_run(run, overrides_of(options))
    tell(f"{total} tasks, {len(left)} of them to look at, {said}")
    return bool(options.dry_run)


def _running(options: argparse.Namespace) -> Running:
    return Running(options.out, runner_of(ray=options.ray), options.concurrency)


def _finish(summary: Summary, run: Run, tasks: Sequence[Task], out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    write_failures(summary.failures, out / FAILURES)
    known, target = _by_id(tasks), run.queries[0].target
    source = images_of(run.settings, run.project)

    def load(task: TaskId) -> RGBImage:
        number = task if isinstance(task, int) else None
        data = source.fetcher.fetch(address_of(known[task], target), source.origin, number)
        return decode(data, max_pixels=source.max_pixels, stretch=source.stretch)

    write_sheet(summary.shown, target.name, load, out / SHEET)
    summary.print()
    tell(f"Written to {readable(str(out))}")
    return 2 if summary.failures else 0
