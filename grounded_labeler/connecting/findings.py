"""What a check found, and checks that end in time whatever they wait for."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from grounded_labeler.errors import GroundedLabelerError, sentence_of


class Status(StrEnum):
    """How a check went, the best first."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line: `text` is what is the case, `remedy` what to do about it, empty for OK."""

    check: str
    status: Status
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Find that something is as it should be."""
    return Finding(check, Status.OK, text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """Find what may be meant so, and often is not."""
    return Finding(check, Status.WARN, text, remedy)


def fail(check: str, text: str, remedy: str = "") -> Finding:
    """Find what the service does not work with; `text` may have the remedy in it."""
    return Finding(check, Status.FAIL, text, remedy)


@dataclass(frozen=True)
class Check:
    """`look` gives findings within `seconds`, or else the check has failed."""

    name: str
    seconds: float
    look: Callable[[], Iterable[Finding]]

    def run(self) -> list[Finding]:
        """Look, on a thread that is left behind where it does not end in time."""
        found: list[Finding] = []
        errors: list[BaseException] = []

        def look() -> None:
            try:
                for one in self.look():
                    found.append(one)
            except BaseException as error:  # noqa: BLE001 - is raised below, where somebody sees it
                errors.append(error)

        thread = threading.Thread(target=look, name=f"check {self.name}", daemon=True)
        thread.start()
        thread.join(self.seconds)
        seen = list(found)
        if thread.is_alive():
            took = f"no result within {self.seconds:g} seconds"
            return [*seen, fail(self.name, took, "Look at what it waits for, and run it again.")]
        for error in errors:
            if isinstance(error, GroundedLabelerError):
                return [*seen, fail(self.name, str(error))]
            if isinstance(error, OSError):
                return [*seen, fail(self.name, sentence_of(error))]
            raise error
        return seen
