"""The three jobs of the command: accept, draw a sample to review, and revoke."""

import argparse
import os
import random
from dataclasses import replace
from datetime import UTC, datetime

from grounded_labeler.console import tell
from grounded_labeler.label_studio_api.project import Project
from grounded_labeler.label_studio_api.views import of_tasks, unannotated
from grounded_labeler.preannotate.plan import open_project
from grounded_labeler.quality.accept import Promise
from grounded_labeler.quality.acceptance import (
    LEAST_CERTAIN,
    REVIEW_SAMPLE,
    AcceptanceError,
    Predicted,
    Step,
    accept,
    read_predicted,
    revocable,
    revoke,
    survey,
)
from grounded_labeler.quality.acceptance_report import Basis, tell_survey, write_report
from grounded_labeler.quality.sample import (
    SAMPLE,
    Sample,
    draw,
    read_sample,
    read_tuned,
    write_sample,
)
from grounded_labeler.settings import Settings

_EVERY = 100  # tasks, between two lines
# A tab needs a filter for each task, and Label Studio reads them one by one.
_MOST_IN_TAB = 500


def accept_project(options: argparse.Namespace) -> None:
    """Say what reviews allow to accept; accept it with `--apply`."""
    project = _open(options)
    tuned = _tuned(options)
    predicted = read_predicted(project, options.model_version)
    nothing = _no_sample(project, predicted)
    sample = read_sample(options.out, nothing)
    found = survey(
        project, predicted, Promise(options.precision),
        min_iou=options.iou, tuned=tuned, sample=sample,
    )  # fmt: skip
    tell_survey(found, sample)
    if not options.apply:
        tell("Nothing was written; --apply accepts.")
        return
    if found.accepted:
        if sample is None:
            # Those who review from now on do not review a random sample: the best is gone.
            reviewed = tuple(review.task for review in found.reviews.counted)
            sample = replace(nothing, tasks=reviewed)
            write_sample(options.out, sample)
        made_at = datetime.now(UTC)
        path = options.out / f"accepted-{made_at:%Y%m%dT%H%M%SZ}.json"
        basis = Basis(
            project.url, project.number, project.current_user().email, options.iou, sample, made_at
        )
        write_report(path, found, basis, {})
        made = accept(project, found, made_at.date(), _step("accepted"))
        write_report(path, found, basis, made)
        tell(f"What was promised, and on which reviews: {path}")
    _show(project, predicted)
    project.save_view(LEAST_CERTAIN, ("tasks:predictions_score",), unannotated())
    tell(f'The tab "{LEAST_CERTAIN}" of the data manager has what stays for people.')


def sample_project(options: argparse.Namespace) -> None:
    """Draw tasks to review; with `--apply` into a tab of the data manager.

    Raises AcceptanceError where what is left is no random sample, or nothing is left.
    """
    project = _open(options)
    if project.accepted_tasks():
        raise AcceptanceError(
            f"Predictions of project {project.number} were accepted before, and what is left is "
            "no random sample of it: run --revoke --apply first."
        )
    tuned = _tuned(options)
    predicted = read_predicted(project, options.model_version)
    nothing = _no_sample(project, predicted)
    before = read_sample(options.out, nothing) or replace(nothing, is_drawn=True)
    pool = [
        task.id
        for task, objects in predicted.waiting()
        if objects.is_whole
        and objects.labels
        and task.id not in tuned
        and task.id not in before.tasks
    ]
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    drawn = draw(pool, options.sample, seed)
    if not drawn:
        raise AcceptanceError(
            "There is no task left to draw: each that has a predicted object is annotated, begun, "
            "tuned on or in the sample."
        )
    tell(f"{len(drawn):,} of {len(pool):,} tasks drawn with --seed {seed}.")
    if not options.apply:
        tell(f"Their ids: {', '.join(map(str, drawn))}")
        tell("Nothing was written; --apply makes the tab.")
        return
    sample = replace(before, tasks=tuple(sorted({*before.tasks, *drawn})))
    write_sample(options.out, sample)
    _show(project, predicted)
    where = str(options.out / SAMPLE)
    if len(sample.tasks) <= _MOST_IN_TAB:
        # By what no two tasks share: Label Studio sorts by one column and pages, so that with
        # PostgreSQL a task among equals could be on no page.
        project.save_view(REVIEW_SAMPLE, ("tasks:id",), of_tasks(sample.tasks))
        where = f'the tab "{REVIEW_SAMPLE}" of the data manager'
    tell(
        f"The {len(sample.tasks):,} tasks of the sample are in {where}: review all of them, and "
        "begin with the prediction."
    )


def revoke_project(options: argparse.Namespace) -> None:
    """Say which accepted annotations can be taken back; delete them with `--apply`."""
    project = _open(options)
    found = revocable(project)
    tell(f"Accepted and as they were made: {len(found.annotations):,}")
    if found.changed:
        tell(f"Left because people changed them, or are changing them: {found.changed:,}")
    if found.of_others:
        tell(f"Left because another user accepted them, who can revoke them: {found.of_others:,}")
    if options.apply:
        revoke(project, found.annotations, _step("revoked"))
    else:
        tell("Nothing was deleted; --apply deletes them.")


def _open(options: argparse.Namespace) -> Project:
    return open_project(Settings.from_env(os.environ), options.project)


def _tuned(options: argparse.Namespace) -> frozenset[int]:
    """The tasks that were tuned on; it is said where nothing tells."""
    tuned = read_tuned(options.tuned, options.project)
    if tuned is None:
        tell(
            f"There is no {options.tuned} of project {options.project}: no task is left out for "
            "having been tuned on."
        )
    return tuned or frozenset()


def _no_sample(project: Project, predicted: Predicted) -> Sample:
    return Sample(
        project.url, project.number, project.created(), predicted.version, (), is_drawn=False
    )


def _show(project: Project, predicted: Predicted) -> None:
    """Have annotators begin with these predictions, and the data manager sort by their scores."""
    if project.model_version() != predicted.version:
        project.show_predictions(predicted.version)
        tell(f"The project shows annotators the predictions of {predicted.version} from now on.")


def _step(what: str) -> Step:
    def step(done: int, total: int) -> None:
        if total and (done == total or (done and done % _EVERY == 0)):
            tell(f"{done:,} of {total:,} {what}")

    return step
