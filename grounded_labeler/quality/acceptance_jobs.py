"""The three jobs of the command: accept, draw a sample to review, and revoke."""

import argparse
import os
import random
from dataclasses import replace
from datetime import UTC, datetime

from grounded_labeler.console import tell
from grounded_labeler.label_studio_api.project import Project
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
from grounded_labeler.quality.sample import Sample, draw, read_sample, read_tuned, write_sample
from grounded_labeler.settings import Settings

_EVERY = 100  # tasks, between two lines


def accept_project(options: argparse.Namespace) -> None:
    """Say what reviews allow to accept; accept it with `--apply`."""
    project = _open(options)
    tuned = read_tuned(options.tuned, options.project)
    predicted = read_predicted(project, options.model_version)
    nothing = _no_sample(project, predicted)
    sample = read_sample(options.out, nothing)
    found = survey(
        project, predicted, Promise(options.precision),
        min_iou=options.iou, tuned=tuned, sample=sample,
    )  # fmt: skip
    if not options.tuned.exists():
        tell(f"There is no {options.tuned}: no task is left out for having been tuned on.")
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
    project.save_view(LEAST_CERTAIN, ("tasks:predictions_score",), unannotated=True)
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
    tuned = read_tuned(options.tuned, options.project)
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
    project.save_view(REVIEW_SAMPLE, ("tasks:id",), tasks=sample.tasks, unannotated=True)
    tell(
        f'The tab "{REVIEW_SAMPLE}" of the data manager has the {len(sample.tasks):,} tasks of '
        "the sample that are not annotated yet. Review all of them, and begin with the prediction."
    )


def revoke_project(options: argparse.Namespace) -> None:
    """Say which accepted annotations can be taken back; delete them with `--apply`."""
    project = _open(options)
    found = revocable(project)
    tell(f"{len(found.annotations):,} accepted annotations are as they were made.")
    if found.changed:
        tell(f"{found.changed:,} more were changed by people, or are being changed: they stay.")
    if found.of_others:
        tell(f"{found.of_others:,} more were accepted by another user, who can revoke them.")
    if options.apply:
        revoke(project, found.annotations, _step("revoked"))
    else:
        tell("Nothing was deleted; --apply deletes them.")


def _open(options: argparse.Namespace) -> Project:
    return open_project(Settings.from_env(os.environ), options.project)


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
