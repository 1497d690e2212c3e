"""The command `tune`: from its options to the files, and into the project."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grounded_labeler.console import tell
from grounded_labeler.core.types import Label
from grounded_labeler.evaluation.curve import F1, Goal, PrecisionAtLeast, RecallAtLeast
from grounded_labeler.label_studio.config_edit import diff
from grounded_labeler.preannotate.names import readable
from grounded_labeler.preannotate.plan import open_project
from grounded_labeler.quality.options import running_of, subject_of
from grounded_labeler.quality.phrases import read_trials
from grounded_labeler.quality.subject import Subject
from grounded_labeler.quality.tune import TuneOptions, for_labels, tune
from grounded_labeler.quality.tuned_config import (
    NO_FIELD,
    folder_xml,
    names_models,
    service_version,
    tuned_config,
    what_hides,
)
from grounded_labeler.quality.tuned_files import FIGURES, figures_of, used_tasks, write_tuned
from grounded_labeler.quality.tuned_report import print_tuned
from grounded_labeler.settings import Settings

if TYPE_CHECKING:
    from grounded_labeler.label_studio_api.project import Project


def run(options: argparse.Namespace) -> int:
    """Tune, print what came out and write the files; returns the exit code.

    Raises GroundedLabelerError with a sentence for people, and OSError.
    """
    settings = Settings.from_env(os.environ)
    project, before, subject = _subject(options, settings)
    earlier = used_tasks(options.out / FIGURES, options.project)
    models = not options.keep_models and len(settings.offered.detectors) > 1
    if models and not names_models(before):
        models = False
        tell(NO_FIELD)
    wanted = TuneOptions(
        goal_of(options),
        read_trials(options.tried, labels_of(for_labels(subject))),
        phrases=not options.keep_phrases,
        models=models,
    )
    tuned = tune(subject, settings, running_of(options), wanted)
    after = tuned_config(before, tuned)
    print_tuned(tuned)
    version = None
    if project is not None:
        version = service_version(after, settings, subject.remembered)
        if hidden := what_hides(subject.config, settings, subject.remembered):
            tell(hidden)
    figures = figures_of(tuned, project=options.project, version=version, earlier=earlier)
    write_tuned(options.out, figures, after)
    if tuned.is_changed:
        tell(f"\n{diff(before, after)}\n")
    tell(f"Written to {readable(str(options.out))}")
    if project is not None and tuned.is_changed:
        _write_into(project, before, after, str(version), apply=options.apply)
    return 2 if tuned.best.failures else 0


def goal_of(options: argparse.Namespace) -> Goal:
    """Return what the options want to be reached."""
    if options.precision is not None:
        return PrecisionAtLeast(options.precision)
    return F1() if options.recall is None else RecallAtLeast(options.recall)


def labels_of(subject: Subject) -> Sequence[Label]:
    """Return the labels of all images, each value once."""
    every = [label for target in subject.config.images for label in target.labels]
    return list({label.value: label for label in reversed(every)}.values())[::-1]


def _subject(
    options: argparse.Namespace, settings: Settings
) -> tuple["Project | None", str, Subject]:
    """The project, if it is one, its label config as it is now, and its annotated images."""
    if options.project is None:
        subject = subject_of(options, settings)
        return None, folder_xml(labels_of(subject)), subject
    # Label Studio's SDK takes a second, which folders need not wait for.
    from grounded_labeler.quality.project_truth import project_subject  # noqa: PLC0415

    project = open_project(settings, options.project)
    before = project.label_config()
    subject = project_subject(
        project,
        settings,
        view=options.view,
        task_ids=options.task_ids,
        annotator=options.annotator,
    )
    return project, before, subject


def _write_into(project: "Project", before: str, after: str, version: str, *, apply: bool) -> None:
    if not apply:
        tell("The project is as it was: --apply writes this label config into it.")
        return
    project.write_label_config(after, expected=before)
    tell(
        f"The label config of project {project.number} has these changes. The model version is "
        f"{version} now, so Label Studio asks again for each task that has no annotation yet and "
        "is opened; `grounded-labeler preannotate` asks for all of them."
    )
