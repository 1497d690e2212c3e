"""Every image moves the bar, or is in a line now and then; loading is announced and timed."""

import itertools
from collections.abc import Iterator

import pytest

from grounded_labeler.console import timed
from grounded_labeler.preannotate.progress import shown
from grounded_labeler.preannotate.report import Summary
from grounded_labeler.preannotate.results import TaskOutcomes
from tests.helpers.terminal import Terminal
from tests.preannotate.outcomes import FAILED, task_result


def some(*counts: int) -> Iterator[TaskOutcomes]:
    """Outcomes of as many tasks at a time, each but the first with one object."""
    number = itertools.count(1)
    for count in counts:
        ids = list(itertools.islice(number, count))
        yield {one: task_result("Star") if one > 1 else FAILED for one in ids}


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (4,), (3, 1)])
def test_the_bar_moves_for_every_image(
    counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    summary = Summary()
    with shown(summary, 6, 10) as show:
        for outcomes in some(*counts):
            show(outcomes)
    drawn = terminal.getvalue()
    for number in (6, 7, 8, 9, 10):
        assert f"{number}/10" in drawn
    assert "failures=1, regions=3" in drawn
    assert (summary.tasks, summary.regions["Star"], list(summary.failures)) == (4, 3, [1])
    assert capsys.readouterr().out == ""


def test_where_nobody_watches_a_line_comes_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([0.0, 4.0, 9.9, 10.0, 10.0, 15.0])
    with shown(Summary(), 0, 5, clock=lambda: next(times)) as show:
        for outcomes in some(1, 1, 1, 1, 1):
            show(outcomes)
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "1 of 5 tasks: 0 regions, 1 failures",
        "4 of 5 tasks: 3 regions, 1 failures",
    ]
    assert said.err == ""


def test_what_takes_time_is_announced_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([100.0, 113.6])
    with timed("Loading [a] + b", clock=lambda: next(times)):
        assert capsys.readouterr().out == "Loading [a] + b ... "
    assert capsys.readouterr().out == "14 s\n"


def test_what_fails_ends_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), timed("Loading"):
        raise ValueError("no")
    assert capsys.readouterr().out == "Loading ... \n"
