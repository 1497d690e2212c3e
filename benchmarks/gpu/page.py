"""The page of a check: one HTML file that needs nothing else, read in five minutes."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.gpu.environment import older_than_wanted
from benchmarks.gpu.results import FAIL, GOAL, PASS, VERDICT, Part, Record, Report, named

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2em 0.8em; text-align: left;
         vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: #17692c; } .bad { color: #b3261e; font-weight: bold; } .dim { color: #666; }
details { margin: 0.5em 0; }
"""
_CLASSES = {
    "measured": "good", "unfinished": "bad", "failed": "bad", "not measured": "dim",
    PASS: "good", FAIL: "bad", "passed": "good",
}  # fmt: skip
_LONG = 40  # rows that a table shows before it has to be opened


def page(report: Report) -> str:
    """Return the whole page."""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>GPU check</title>',
        f"<style>{_STYLE}</style></head><body>",
        "<h1>GPU check</h1>",
        f"<p>{escape(summary(report))}</p>",
        *_goals(report),
        "<h2>The parts</h2>",
        *_table(
            [
                {
                    "part": part.title,
                    "": part.state,
                    "seconds": round(part.seconds, 1),
                    "why": part.reason,
                }
                for part in report.parts
            ]
        ),
        *(line for part in report.parts for line in _part(part)),
        "<h2>Measured on</h2>",
        *_environment(report.environment),
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def summary(report: Report) -> str:
    """Return in two or three sentences what the check says."""
    device = report.options["device"]
    card = report.environment.get("card") or {}
    where = card.get("name") or ("no card that nvidia-smi finds" if device == "cuda" else "a CPU")
    counts = {
        state: sum(part.state == state for part in report.parts)
        for state in ("measured", "unfinished", "failed", "not measured")
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    records = [record for part in report.parts for record in part.records()]
    goals = [record[VERDICT] for record in records if VERDICT in record]
    reached = f" Of {len(goals)} goals {goals.count(PASS)} were reached." if goals else ""
    small = "" if report.options["models"] == "full" else " The models are the small bundled ones."
    return (
        f"On {where}, in {report.seconds:.0f} of {report.options['seconds']:.0f} s. "
        f"Parts: {told}.{reached}{small}"
    )


def _goals(report: Report) -> Iterator[str]:
    goals = [
        {"part": part.title, "what": named(record), GOAL: record[GOAL], "": record[VERDICT]}
        for part in report.parts
        for record in part.records()
        if VERDICT in record
    ]
    if goals:
        yield "<h2>Goals</h2>"
        yield from _table(goals)


def _part(part: Part) -> Iterator[str]:
    if not part.tables and not part.left_out:
        return
    yield f"<h2>{escape(part.title)}</h2>"
    for title, records in part.tables.items():
        yield f"<h3>{escape(title)}</h3>"
        if len(records) > _LONG:
            yield f"<details><summary>{len(records)} rows</summary>"
            yield from _table(records)
            yield "</details>"
        else:
            yield from _table(records)
    if part.left_out:
        yield "<h3>Not measured</h3>"
        yield from _table([{"what": what, "why": why} for what, why in part.left_out.items()])


def _environment(environment: Mapping[str, Any]) -> Iterator[str]:
    facts = [
        {"fact": name, "value": value}
        for name, value in environment.items()
        if not isinstance(value, Mapping)
    ]
    facts += [{"fact": key, "value": of} for key, of in (environment.get("card") or {}).items()]
    yield from _table(facts)
    packages = environment.get("packages") or {}
    for sentence in older_than_wanted(packages):
        yield f'<p class="bad">{escape(sentence)}.</p>'
    yield f"<details><summary>{len(packages)} packages</summary>"
    yield from _table(
        [
            {"package": name, "wanted": of["wanted"], "found": of["found"] or "not installed"}
            for name, of in packages.items()
        ]
    )
    yield "</details>"


def _table(records: Sequence[Record]) -> Iterator[str]:
    """Yield a table whose columns are the keys of all records, as far as a record has them."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    yield "<table><tr>" + "".join(f"<th>{escape(name)}</th>" for name in columns) + "</tr>"
    for record in records:
        yield "<tr>" + "".join(_cell(record.get(name, "")) for name in columns) + "</tr>"
    yield "</table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="number">{_number(value)}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="number">{value:,}</td>'
    text = "" if value is None else str(value)
    kind = _CLASSES.get(text)
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
