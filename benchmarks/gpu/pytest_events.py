"""A plugin of pytest that writes each test's outcome as an event, as soon as it has ended."""

import time
from pathlib import Path

import pytest

from benchmarks.gpu.results import EventWriter

PART, TABLE = "tests", "Tests"
_LINES = 3  # of the reason of a failure


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu-events", type=Path, help="the file of events")
    parser.addoption("--gpu-until", type=float, default=0.0, help="seconds since the epoch")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gpu-events") is not None:
        config.pluginmanager.register(_Events(config), "gpu events")


class _Events:
    """Writes the events of one run; it has one part, which ends if nothing failed."""

    def __init__(self, config: pytest.Config) -> None:
        self._writer = EventWriter(config.getoption("--gpu-events"))
        self._until: float = config.getoption("--gpu-until")
        self._ran = 0
        self._skipped_because = "there are no such tests"

    def pytest_sessionstart(self) -> None:
        self._writer.begin(PART, self._until)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        why = _reason(report)
        if report.outcome == "skipped":
            self._skipped_because = why
        else:
            self._ran += 1
        file, _, name = report.nodeid.partition("::")
        self._writer.record(
            PART,
            TABLE,
            {
                "file": Path(file).name,
                "test": name,
                "": report.outcome,
                "seconds": round(report.duration, 2),
                "why": why,
            },
        )

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self._until and time.time() > self._until:
            pytest.skip("there was no time for it")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if not self._ran and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            self._writer.impossible(PART, self._skipped_because)
        elif exitstatus == pytest.ExitCode.OK:
            self._writer.end(PART)


def _reason(report: pytest.TestReport) -> str:
    if report.outcome == "passed":
        return ""
    if isinstance(report.longrepr, tuple):  # of a skipped test: file, line, reason
        return str(report.longrepr[2])
    lines = [line[1:].strip() for line in report.longreprtext.splitlines() if line[:1] == "E"]
    return " ".join(lines[:_LINES])
