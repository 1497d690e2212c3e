"""Which tasks of a run are left to look at."""

import argparse
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.journal import Journal
from grounded_labeler.preannotate.local_runner import TaskId
from grounded_labeler.preannotate.sources import Source


def tasks_left(
    journal: Journal, source: Source, tasks: Sequence[Task], options: argparse.Namespace
) -> list[Task]:
    """The tasks to look at; what was found in images that have changed since is dropped."""
    seen = journal.contents()
    looked_at = [task for task in tasks if seen.get(task["id"]) is not None]
    pool = ThreadPoolExecutor(options.concurrency)
    try:
        contents = pool.map(source.content, looked_at)
        changed = {
            task["id"]
            for task, content in zip(looked_at, contents, strict=True)
            if content != seen[task["id"]]
        }
    finally:  # an interrupt does not wait for all files to be read
        pool.shutdown(cancel_futures=True)
    if not options.dry_run:
        journal.drop(changed)
    tried: Collection[TaskId] = seen.keys() - changed
    done = {task for task in tried if seen[task] is not None}
    if options.overwrite:
        tried = journal.overwritten()
        done = {task for task, has_result in tried.items() if has_result and task in done}
    return untried_first(tasks, done, tried)


def untried_first(
    tasks: Sequence[Task], done: Collection[TaskId], tried: Collection[TaskId]
) -> list[Task]:
    """The tasks to look at: those that failed before last, or a limit might never get past them."""
    left = [task for task in tasks if task["id"] not in done]
    return sorted(left, key=lambda task: task["id"] in tried)
