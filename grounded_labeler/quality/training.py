"""Tuning in the background of a service, as Start Training in Label Studio asks for it."""

import logging
import sqlite3
import threading
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from grounded_labeler.errors import GroundedLabelerError, NotReady, SettingsError, sentence_of
from grounded_labeler.label_studio.config_edit import diff
from grounded_labeler.preannotate.local_runner import run_on
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.training_state import TrainingState, TrainingStates, now
from grounded_labeler.quality.tune import TuneOptions, tune
from grounded_labeler.quality.tuned_config import (
    names_models,
    service_version,
    tuned_config,
    what_hides,
)
from grounded_labeler.quality.tuned_files import FIGURES, figures_of, used_tasks, write_tuned
from grounded_labeler.quality.tuned_report import sentences
from grounded_labeler.service import Service, label_studio_of

if TYPE_CHECKING:
    from grounded_labeler.label_studio_api.project import Project

logger = logging.getLogger(__name__)

OFF = "START_TRAINING=off says that this service tunes nothing."
_NO_ACCESS = (
    "Tuning reads the annotations from Label Studio, and this service does not know how: set "
    "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
)
_UNEXPECTED = "An error that nobody expected ended it: the service's log has it."
_STOPPED = (
    "The service was stopped before the tuning was done: press Start Training again, and it goes "
    "on where it ended."
)
_ENDING_TIMEOUT_S = 10.0
_MOST_AT_ONCE = 4  # in one process; each holds what was found in all of its images


class _Stopped(Exception):
    """The service ends, or this tuning is to."""


class Training:
    """Tunes projects in the background, one tuning a project at a time; threads share it.

    The models are those of the service, with what annotators type before it. Its processes share
    the states, which lie below DATA_DIR.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._service, self._settings = service, settings
        self._states = TrainingStates((settings.data_dir or settings.model_dir) / "tuning")
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def is_on(self) -> bool:
        """Whether Start Training does anything."""
        return self._settings.start_training != "off"

    def start(self, number: int) -> TrainingState:
        """Begin to tune a project, and return at once; where that is going on, return it.

        Raises SettingsError where no state can be kept, NotReady where too much goes on.
        """
        try:
            return self._start(number)
        except OSError as error:
            raise SettingsError(
                f"No state of the tuning can be kept: {sentence_of(error)}"
            ) from error

    def read(self, number: int) -> TrainingState | None:
        """Return how far the tuning of a project is, in whatever process; None without any.

        Raises SettingsError where that cannot be read.
        """
        try:
            return self._states.read(number)
        except OSError as error:
            raise SettingsError(
                f"The state of the tuning cannot be read: {sentence_of(error)}"
            ) from error

    def stop(self) -> None:
        """End what goes on, as far as it waits for nothing longer than some seconds."""
        self._ending.set()
        for thread in list(self._threads):
            thread.join(_ENDING_TIMEOUT_S)

    def _start(self, number: int) -> TrainingState:
        going_on = self._states.read(number)
        if going_on is not None and going_on.is_running:
            return going_on
        if sum(one.is_alive() for one in self._threads) >= _MOST_AT_ONCE:
            raise NotReady(
                f"{_MOST_AT_ONCE} projects are being tuned: press Start Training again later."
            )
        state = TrainingState(
            project=number, job=f"tune-{number}-{uuid4().hex[:12]}", state="running",
            step="reading the annotations", started=now(),
        )  # fmt: skip
        with self._states.begun(state) as lock:
            if lock is not None:
                self._begin(state, lock)
                return state
        return self._states.read(number) or state  # another process was first

    def _begin(self, state: TrainingState, lock: int) -> None:
        # Not waited for when the process ends: `stop` is what ends it.
        self._threads = [one for one in self._threads if one.is_alive()]
        thread = threading.Thread(
            target=self._work, args=(state, lock), name=f"tune-{state.project}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            self._states.let_go(lock)
            raise NotReady("No tuning can begin now: press Start Training again later.") from error
        self._threads.append(thread)

    def _work(self, state: TrainingState, lock: int) -> None:
        job = _Job(self._service, self._states, state, self._ending)
        try:
            logger.info("project %s: tuning begins, as %s", state.project, state.job)
            ended = job.run()
        except _Stopped:
            ended = job.state.model_copy(update={"state": "ended", "error": _STOPPED})
        except GroundedLabelerError as error:
            ended = _failed(job.state, str(error))
        except OSError as error:
            ended = _failed(job.state, f"Tuning cannot go on: {sentence_of(error)}")
        except sqlite3.Error as error:
            ended = _failed(job.state, f"Tuning cannot go on: its journal says {error}.")
        except Exception:
            logger.exception("project %s: tuning failed", state.project)
            ended = _failed(job.state, _UNEXPECTED)
        try:
            self._states.write(ended.model_copy(update={"finished": now()}))
            logger.info("project %s: tuning %s. %s", state.project, ended.state, ended.error or "")
        except OSError as error:
            logger.warning("project %s: %s", state.project, sentence_of(error))
        finally:
            self._states.let_go(lock)


def _failed(state: TrainingState, sentence: str) -> TrainingState:
    return state.model_copy(update={"state": "failed", "error": sentence})


class _Job:
    """One tuning; `state` is how far it is."""

    def __init__(
        self,
        service: Service,
        states: TrainingStates,
        state: TrainingState,
        ending: threading.Event,
    ) -> None:
        self.state = state
        self._service, self._states, self._ending = service, states, ending
        self._logged = 0

    def run(self) -> TrainingState:
        """Tune, and return the state in the end."""
        # Label Studio's SDK takes a second, which a service that tunes nothing need not wait for.
        from grounded_labeler.quality.project_truth import project_subject  # noqa: PLC0415

        settings, number = self._service.settings, self.state.project
        folder = self._states.folder / str(number)
        project = self._open(number)
        before = project.label_config()
        subject = project_subject(project, settings)
        earlier = used_tasks(folder / FIGURES, number)
        runner = partial(run_on, self._service)
        running = Running(folder, runner, progress=self._progress)
        options = TuneOptions(models=names_models(before))
        tuned = tune(subject, settings, running, options, self._say)
        self._check()
        after = tuned_config(before, tuned)
        version = service_version(after, settings, subject.remembered)
        figures = figures_of(tuned, project=number, version=version, earlier=earlier)
        write_tuned(folder, figures, after)
        outcome = "proposed" if tuned.is_changed else "unchanged"
        if tuned.is_changed and settings.start_training == "apply":
            project.write_label_config(after, expected=before)
            outcome = "applied"
        said = sentences(tuned)
        if hidden := what_hides(subject.config, settings, subject.remembered):
            said.append(hidden)
        for sentence in said:
            logger.info("project %s: %s", number, sentence)
        return self.state.model_copy(
            update={
                "state": outcome,
                "step": "",
                "sentences": tuple(said),
                "label_config": after,
                "diff": diff(before, after),
                "model_version": version,
                "figures": figures,
            }
        )

    def _open(self, number: int) -> "Project":
        from grounded_labeler.label_studio_api.project import Project  # noqa: PLC0415 - likewise

        origin = label_studio_of(self._service.settings)
        if origin is None or origin.token is None:
            raise SettingsError(_NO_ACCESS)
        return Project(origin.url, origin.token, number)

    def _say(self, step: str) -> None:
        self._check()
        logger.info("project %s: %s", self.state.project, step)
        self.state = self.state.model_copy(update={"step": step, "done": 0, "total": 0})
        self._states.write(self.state)
        self._logged = 0

    def _progress(self, done: int, total: int) -> None:
        self._check()
        shown = self.state.done
        # A hundred times a run at most, whatever number of tasks there are.
        if total != self.state.total or done == total or (done - shown) * 100 >= total:
            self.state = self.state.model_copy(update={"done": done, "total": total})
            self._states.write(self.state)
        if done == total or (done - self._logged) * 10 >= total:
            self._logged = done
            logger.info("project %s: %s of %s tasks", self.state.project, done, total)

    def _check(self) -> None:
        if self._ending.is_set():
            raise _Stopped
