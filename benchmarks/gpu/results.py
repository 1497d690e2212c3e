"""What a check has found so far: the parts, their tables and what was left out, as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Record = Mapping[str, Any]
State = Literal["measured", "unfinished", "failed", "not measured"]

# Columns of a record that say what it must reach, and whether it does.
GOAL, VERDICT = "goal", "verdict"
PASS, FAIL = "pass", "FAIL"
_NOT_REACHED = "the check ended before it"


@dataclass
class Part:
    """One part of the check.

    Attributes:
        name: how the command line calls it.
        title: what a reader is told it is.
        state: whether it ran to its end. One that was cut off keeps what it had found.
        reason: why it is not "measured"; empty if it is.
        seconds: how long it ran.
        tables: records of the same kind, by the title of their table.
        left_out: what was not measured, and why.
    """

    name: str
    title: str
    state: State = "not measured"
    reason: str = _NOT_REACHED
    seconds: float = 0.0
    tables: dict[str, list[Record]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def records(self) -> Iterator[Record]:
        """Yield the records of all tables."""
        for table in self.tables.values():
            yield from table


@dataclass
class Report:
    """A whole check: how it was called, where it ran, and its parts in their order."""

    options: Mapping[str, Any]
    environment: Mapping[str, Any]
    parts: list[Part]
    seconds: float = 0.0

    def part(self, name: str) -> Part:
        """Return the part of that name; raises KeyError when there is none."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)

    def failures(self) -> list[str]:
        """Return a sentence for each part that failed and each goal that was missed."""
        told = [f"{part.title}: {part.reason}" for part in self.parts if part.state == "failed"]
        told += [
            f"{part.title}: {named(record)}: {record[GOAL]}"
            for part in self.parts
            for record in part.records()
            if record.get(VERDICT) == FAIL
        ]
        return told

    def write(self, path: Path) -> None:
        """Write all of it as JSON; who reads the file meanwhile sees the one before or this."""
        content = {
            "options": dict(self.options),
            "seconds": round(self.seconds, 1),
            "environment": dict(self.environment),
            "parts": [asdict(part) for part in self.parts],
        }
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(path)


def named(record: Record) -> str:
    """Return what a record is of: its texts, without the goal and whether it was reached."""
    texts = [value for key, value in record.items() if key not in (GOAL, VERDICT)]
    return ", ".join(text for text in texts if isinstance(text, str) and text)


def judged(record: Record, goal: str, *, reached: bool) -> Record:
    """Return the record with its goal and whether it was reached."""
    return {**record, GOAL: goal, VERDICT: PASS if reached else FAIL}


class EventWriter:
    """Tells, in a process that measures, what it does: a line of JSON for each event."""

    def __init__(self, path: Path) -> None:
        """Append to the file `path`, which the process that supervises reads."""
        self._path = path

    def begin(self, part: str, until: float) -> None:
        """Say that a part begins and should have ended by `until`, in seconds since the epoch."""
        self._write({"begin": part, "until": until})

    def record(self, part: str, table: str, record: Record) -> None:
        """Add a record to a table of the part."""
        self._write({"part": part, "table": table, "record": dict(record)})

    def left_out(self, part: str, what: str, why: str) -> None:
        """Say what of the part is not measured, and why."""
        self._write({"part": part, "left_out": what, "why": why})

    def impossible(self, part: str, why: str) -> None:
        """Say that nothing of the part can be measured here."""
        self._write({"impossible": part, "why": why})

    def end(self, part: str) -> None:
        """Say that the part ran to its end."""
        self._write({"end": part})

    def _write(self, event: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


class EventReader:
    """Reads the events that were written since it last read."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def read(self) -> Sequence[Mapping[str, Any]]:
        """Return the new events; a line that is not finished yet is read later."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._at += len(complete) + len(newline)
        return [json.loads(line) for line in complete.splitlines()]
