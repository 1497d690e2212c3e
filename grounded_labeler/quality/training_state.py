"""How far the tuning of each project is: files that all processes of a service read."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grounded_labeler.errors import SettingsError
from grounded_labeler.quality.files import write_whole

logger = logging.getLogger(__name__)

# Who may start a tuning may name any project: its files must not fill the disk.
_MOST_PROJECTS = 1000

# "ended": the process went away before it was done; a new start goes on where it was.
State = Literal["running", "proposed", "applied", "unchanged", "failed", "ended"]

_GONE = (
    "The service ended before the tuning was done: press Start Training again, and it goes on "
    "where it ended."
)


class TrainingState(BaseModel):
    """One tuning of one project, as `/tune/<project>` answers it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project: int = Field(description="The number of the project in Label Studio.")
    job: str = Field(description="The name of this tuning, as Label Studio was told it.")
    state: State = Field(
        description="`proposed`: `label_config` is better and stands here to be copied; "
        "`applied`: it is written into the project; `unchanged`: nothing is better than what "
        "there is; `ended`: the service ended before it was done."
    )
    step: str = Field(default="", description="What is done now, for people.")
    done: int = Field(default=0, ge=0, description="Tasks that this step has done.")
    total: int = Field(default=0, ge=0, description="Tasks of this step.")
    started: str = Field(description="When it was started, in UTC.")
    finished: str | None = Field(default=None, description="When it ended, in UTC.")
    error: str | None = Field(default=None, description="Why it failed, and how to mend it.")
    sentences: tuple[str, ...] = Field(default=(), description="What came out, for people.")
    label_config: str | None = Field(default=None, description="The label config that was chosen.")
    diff: str = Field(default="", description="What differs in it from the project's.")
    model_version: str | None = Field(default=None, description="The model version that it has.")
    figures: dict[str, Any] | None = Field(
        default=None,
        description="All figures before and after, as `tuned.json` of the command has them.",
    )

    @property
    def is_running(self) -> bool:
        """Whether a process works on it."""
        return self.state == "running"


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class TrainingStates:
    """The states of all projects, in files below `folder`.

    Whoever tunes a project holds a lock on it, which the system takes away when the process ends,
    however it ends: so a state that says "running" is known to be left over.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, project: int) -> TrainingState | None:
        """Return the state of a project; None where nobody ever started anything."""
        if not self._path(project).is_file():
            return None
        with self._door():
            state = self._read(project)
            if state is None or not state.is_running:
                return state
            lock = self._lock(project)
            if lock is None:
                return state
            os.close(lock)
            return state.model_copy(update={"state": "ended", "error": _GONE})

    @contextmanager
    def begun(self, state: TrainingState) -> Iterator[int | None]:
        """Yield a lock on the project, with `state` written; None where a process has it.

        Raises SettingsError where there are states of more projects than any service has.

        The lock is to be let go by `let_go`, by whoever works on the project.
        """
        with self._door():
            if not self._path(state.project).is_file():
                self._check_room()
            lock = self._lock(state.project)
            if lock is not None:
                self._write_or_let_go(state, lock)
            yield lock

    def _write_or_let_go(self, state: TrainingState, lock: int) -> None:
        """Where the disk is full, nobody works on the project, and the next start may."""
        try:
            self.write(state)
        except OSError:
            self.let_go(lock)
            raise

    def write(self, state: TrainingState) -> None:
        """Keep a state; to be called by whoever has the lock."""
        write_whole(self._path(state.project), state.model_dump_json(indent=2))

    @staticmethod
    def let_go(lock: int) -> None:
        """Let other processes work on the project."""
        os.close(lock)

    def _check_room(self) -> None:
        if sum(1 for _ in self.folder.glob("*.json")) >= _MOST_PROJECTS:
            raise SettingsError(
                f"{_MOST_PROJECTS} projects were tuned: take those out of {self.folder} that are "
                "needed no more."
            )

    def _read(self, project: int) -> TrainingState | None:
        path = self._path(project)
        with suppress(FileNotFoundError):
            try:
                return TrainingState.model_validate_json(path.read_bytes())
            except ValidationError as error:
                logger.warning("%s cannot be read: %s", path, error)
        return None

    def _path(self, project: int) -> Path:
        return self.folder / f"{project}.json"

    def _lock(self, project: int) -> int | None:
        """Lock a project; None where another one has it."""
        lock = os.open(self.folder / f"{project}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    @contextmanager
    def _door(self) -> Iterator[None]:
        """Let one process at a time look at locks, for as long as that takes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        door = os.open(self.folder / "door.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(door, fcntl.LOCK_EX)
            yield
        finally:
            os.close(door)
