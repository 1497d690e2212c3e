"""Which rows of the table are plotted, and in which panel."""

from collections.abc import Sequence

from benchmarks import clients, stages
from benchmarks.report import Row
from benchmarks.timing import WHOLE


def panels(table: Sequence[Row]) -> list[Row]:
    """The stages of one request a size; whole requests; other ways to compute; clients.

    A panel's rows have its title as their case.
    """
    typical = {case.name for case in stages.CASES if case.count == stages.QUICK.count}
    requests = {case.name for case in stages.CASES} | {
        f"{name}: {what}" for name in typical for what in (stages.SECOND, stages.THRESHOLD)
    }
    ways = [row for row in table if row.case.startswith(f"{stages.QUICK.name}, ")]
    return [
        *(row for row in table if row.case in typical),
        *_renamed(
            "whole requests",
            [(row.case, row) for row in table if row.case in requests and row.stage == WHOLE],
        ),
        *_renamed(
            f"{stages.QUICK.name}, other ways to compute",
            [(f"{row.case.rpartition(', ')[2]}: {row.stage}", row) for row in ways],
        ),
        *_renamed(
            f"{clients.STAGE}, clients at once",
            [(row.case, row) for row in table if row.stage == clients.STAGE],
        ),
    ]


def _renamed(title: str, rows: Sequence[tuple[str, Row]]) -> list[Row]:
    return [Row(title, name, row.ours, row.reference) for name, row in rows]
