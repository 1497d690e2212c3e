"""Compare two ways to label the same images: run both where they were not run, and report."""

from collections.abc import Iterator
from pathlib import Path

from grounded_labeler.console import tell, timed
from grounded_labeler.preannotate.names import FAILURES
from grounded_labeler.preannotate.report import write_failures
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.candidates import CandidateSet, ScoredImage
from grounded_labeler.quality.comparison import ComparisonFigures, compare
from grounded_labeler.quality.counting import thresholds_from
from grounded_labeler.quality.evaluate import (
    Measuring,
    about_of,
    ended,
    loader_of,
    run_kept,
    write_report,
)
from grounded_labeler.quality.figures import figures_of
from grounded_labeler.quality.measure import measure
from grounded_labeler.quality.report import words
from grounded_labeler.quality.report.comparing import (
    Side,
    comparison_summary,
    render_comparison,
    write_comparison,
)
from grounded_labeler.quality.report.files import COMPARISON, PAGE
from grounded_labeler.quality.subject import Subject
from grounded_labeler.quality.variants import Changes
from grounded_labeler.settings import Settings

Key = tuple[TaskId, str]  # of an image: its task, and the name of the Image tag


def compare_variants(
    subject: Subject,
    changes: tuple[Changes, Changes],
    settings: Settings,
    running: Running,
    *,
    prompt: str | None,
    measuring: Measuring,
) -> int:
    """Measure A and B on the images that both were run on, and write the reports.

    Both are measured on the labels that either of them looks for. `prompt` is asked where a side
    names none. The report of each side is in a folder of its own below that of the run.

    Returns the exit code: 2 where some images could not be measured.
    Raises what `evaluate` raises.
    """
    applied = [one.apply(subject, settings, prompt) for one in changes]
    both: list[CandidateSet] = []
    failed: dict[TaskId, str] = {}
    for letter, (own, variant) in zip("AB", applied, strict=True):
        tell(f"{letter}:")
        kept, why = run_kept(own, variant, settings, running, measuring)
        both.append(kept)
        failed |= {task: f"{letter}: {reason}" for task, reason in why.items()}
    labels = tuple(dict.fromkeys(label for kept in both for label in kept.labels))
    keys = [{_key(image) for image in kept.images()} for kept in both]
    common = {key for key in keys[0] & keys[1] if key[0] not in failed}
    with timed(f"Measuring {words.counted(len(common), 'image')} twice"):
        evaluations = [
            measure(
                _of(kept, common),
                labels,
                thresholds=thresholds_from(measuring.floor),
                with_masks=kept.has_masks,
            )
            for kept in both
        ]
    compared = compare(*evaluations)
    of_a, of_b = (figures_of(one, failed) for one in evaluations)
    sides = []
    for letter, kept, one, (own, _), evaluation, figures in zip(
        "AB", both, changes, applied, evaluations, (of_a, of_b), strict=True
    ):
        about = about_of(kept, own, measuring)
        folder = Path(letter.lower())
        write_report(
            running.out / folder, about, evaluation, figures, subject=own, settings=settings
        )
        sides.append(Side(letter, one.name, about, (folder / PAGE).as_posix()))
    figures = ComparisonFigures(
        changes[0].name,
        changes[1].name,
        compared.total,
        compared.labels,
        of_a,
        of_b,
        compared.images,
        tuple(one.a.task for one in compared.different),
    )
    load = loader_of(subject, settings).load
    page = render_comparison((sides[0], sides[1]), compared, figures, load)
    write_comparison(running.out, page, figures)
    write_failures(failed, running.out / FAILURES)
    for sentence in comparison_summary(figures):
        tell(sentence)
    return ended(failed, running.out / COMPARISON)


def _key(image: ScoredImage) -> Key:
    return image.task, image.target


def _of(kept: CandidateSet, keys: set[Key]) -> Iterator[ScoredImage]:
    return (image for image in kept.images() if _key(image) in keys)
