"""Run the models on tasks, shown as they come, with what they log in a file of its own."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler import logs
from grounded_labeler.inference.loader import check_ray
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.local_runner import run_locally
from grounded_labeler.preannotate.names import LOG
from grounded_labeler.preannotate.progress import shown
from grounded_labeler.preannotate.report import Summary
from grounded_labeler.preannotate.results import TaskOutcomes
from grounded_labeler.preannotate.run import Keep, Run, Runner, keep_all


@dataclass(frozen=True)
class Running:
    """How the models are run: by whom, and where the log goes.

    `concurrency` tasks are fetched at once. `progress` is told how many tasks are done and how
    many there are, in place of people at a terminal; the log then stays where it is, as in a
    service, and what `progress` raises ends the run.
    """

    out: Path
    runner: Runner = run_locally
    concurrency: int = 4
    progress: Callable[[int, int], None] | None = None


def runner_of(*, ray: bool) -> Runner:
    """Return what runs the models here, or on a cluster.

    Raises SettingsError where Ray is not installed.
    """
    if not ray:
        return run_locally
    check_ray("--ray")
    from grounded_labeler.preannotate.ray_runner import run_on_ray  # noqa: PLC0415 - an extra

    return run_on_ray


def run_models(run: Run, left: Sequence[Task], done: int, running: Running, keep: Keep) -> Summary:
    """Run the models on what is left and let `keep` have it, shown from what is `done` on.

    Raises what the runner and `keep` raise.
    """
    summary = Summary()
    if not left:
        return summary
    running.out.mkdir(parents=True, exist_ok=True)
    if (progress := running.progress) is not None:
        total = done + len(left)

        def tell(outcomes: TaskOutcomes) -> None:
            summary.add(outcomes.items())
            progress(done + summary.tasks, total)

        progress(done, total)
        with closing(running.runner(run, left, running.concurrency)) as outcomes:
            keep_all(outcomes, keep, tell)
        return summary
    with (
        logs.written_to(running.out / LOG, run.settings),
        closing(running.runner(run, left, running.concurrency)) as outcomes,
        shown(summary, done, done + len(left)) as show,
    ):
        keep_all(outcomes, keep, show)
    return summary
