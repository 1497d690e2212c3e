"""Evaluate: run the models on annotated images where they were not run, measure, and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.console import tell, timed
from grounded_labeler.errors import SettingsError
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.preannotate.first_line import phrases_of
from grounded_labeler.preannotate.names import FAILURES, readable
from grounded_labeler.preannotate.report import write_failures
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.preannotate.run import images_of
from grounded_labeler.preannotate.running import Running
from grounded_labeler.preannotate.sources import ProjectSource
from grounded_labeler.quality.candidates import FLOOR, CandidateSet, Variant
from grounded_labeler.quality.counting import thresholds_from
from grounded_labeler.quality.figures import Figures, figures_of
from grounded_labeler.quality.measure import Evaluation, measure
from grounded_labeler.quality.report import words
from grounded_labeler.quality.report.files import PAGE, write_evaluation
from grounded_labeler.quality.report.page import About, render_evaluation
from grounded_labeler.quality.report.pictures import ImageLoader
from grounded_labeler.quality.subject import Subject
from grounded_labeler.settings import Settings


@dataclass(frozen=True)
class Measuring:
    """How it is measured: down to which score, and whether masks are."""

    floor: float = FLOOR
    masks: bool = True


def evaluate(
    subject: Subject,
    variant: Variant,
    settings: Settings,
    running: Running,
    measuring: Measuring,
) -> int:
    """Measure the variant on the subject, and write the report into the folder of the run.

    Returns the exit code: 2 where some images could not be measured.
    Raises what CandidateSet, the models and the journal raise, and SettingsError for a threshold
    below the floor.
    """
    kept, failed = run_kept(subject, variant, settings, running, measuring)
    with timed(f"Measuring {words.counted(len(subject.tasks), 'task')}"):
        evaluation = measure(
            kept.images(),
            kept.labels,
            thresholds=thresholds_from(measuring.floor),
            with_masks=kept.has_masks,
        )
    figures = figures_of(evaluation, failed)
    about = about_of(kept, subject, measuring)
    write_report(running.out, about, evaluation, figures, subject=subject, settings=settings)
    write_failures(failed, running.out / FAILURES)
    for sentence in words.summary(figures):
        tell(sentence)
    return ended(failed, running.out / PAGE)


def write_report(
    out: Path,
    about: About,
    evaluation: Evaluation,
    figures: Figures,
    *,
    subject: Subject,
    settings: Settings,
) -> None:
    """Write the report of an evaluation into the folder `out`."""
    page = render_evaluation(about, evaluation, figures, loader_of(subject, settings).load)
    write_evaluation(out, page, evaluation, figures, _file_names(subject, evaluation))


def run_kept(
    subject: Subject, variant: Variant, settings: Settings, running: Running, measuring: Measuring
) -> tuple[CandidateSet, dict[TaskId, str]]:
    """Run the models where they were not run; return the candidates, and why some failed."""
    kept = CandidateSet(
        subject, variant, settings, running,
        floor=measuring.floor, with_masks=measuring.masks and subject.has_masks,
    )  # fmt: skip
    lowest = min((limit for one in kept.queries for limit in one.box_thresholds), default=1.0)
    if lowest < measuring.floor:
        raise SettingsError(
            f"A box threshold of {lowest:g} holds, which is below the lowest score that is kept, "
            f"{measuring.floor:g}: pass --floor {lowest:g}."
        )
    tell(f"{words.counted(len(subject.tasks), 'annotated task')}, {kept.first_line}")
    return kept, dict(kept.run())


def about_of(kept: CandidateSet, subject: Subject, measuring: Measuring) -> About:
    """Return what was measured, in words."""
    source, name, tasks_url = subject.source, subject.source.name, None
    if isinstance(source, ProjectSource):
        name = f"project {source.number} of {source.url}"
        tasks_url = f"{source.url}/projects/{source.number}/data?task="
    return About(
        subject=name,
        asked=phrases_of(kept.queries),
        thresholds=thresholds_that_hold(kept.queries),
        models=kept.models,
        version=kept.version,
        floor=measuring.floor,
        tasks_url=tasks_url,
    )


def loader_of(subject: Subject, settings: Settings) -> ImageLoader:
    """Return what loads the images of a subject once more, to be drawn on."""
    source = images_of(settings, subject.project)
    return ImageLoader(source, subject.tasks, subject.config.images)


def thresholds_that_hold(queries: Sequence[Query]) -> str:
    """Say which thresholds hold, for each image where they differ."""
    said = {query.target.name: _thresholds(query) for query in queries}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{image}: {thresholds}" for image, thresholds in said.items())


def ended(failed: dict[TaskId, str], page: Path) -> int:
    """Say where the page is and whether some tasks failed; return the exit code."""
    if failed:
        tell(
            f"{words.counted(len(failed), 'task')} could not be measured: {FAILURES} says why; "
            "the same command tries again."
        )
    tell(f"Written to {readable(str(page))}")
    return 2 if failed else 0


def _thresholds(query: Query) -> str:
    limits = query.thresholds
    own = {
        words.name_of(label or phrase.text): limit
        for phrase, label, limit in zip(
            query.prompt.phrases, query.phrase_labels, query.box_thresholds, strict=True
        )
        if limit != limits.box
    }
    listed = ", ".join(f"{name} {limit:g}" for name, limit in own.items())
    return (
        f"box threshold {limits.box:g}{f' ({listed})' if own else ''}, "
        f"text threshold {limits.text:g}, NMS threshold {limits.nms:g}"
    )


def _file_names(subject: Subject, evaluation: Evaluation) -> list[str]:
    tasks = {task["id"]: task for task in subject.tasks}
    targets = {target.name: target for target in subject.config.images}
    images = [(tasks[image.task], targets[image.target]) for image in evaluation.images]
    return [readable(name) for name in subject.source.names(images)]
