"""The table of candidates, as HTML."""

from collections.abc import Sequence
from html import escape

from grounded_labeler._text import rounded_down
from grounded_labeler.playground.selection import Row

_MOST_ROWS = 300
_HEADS = ("#", "phrase", "label", "box score", "text score", "kept", "why", "box in pixels")


def candidates_table(rows: Sequence[Row]) -> str:
    """Return an HTML table of the rows; a sentence where there is none."""
    if not rows:
        return "<p class='hint'>No candidates yet.</p>"
    head = "".join(f"<th>{name}</th>" for name in _HEADS)
    body = "".join(map(_row, rows[:_MOST_ROWS]))
    more = len(rows) - _MOST_ROWS
    note = f"<p class='hint'>And {more} others with lower scores.</p>" if more > 0 else ""
    return (
        "<div class='candidates'><table><thead><tr>"
        f"{head}</tr></thead><tbody>{body}</tbody></table>{note}</div>"
    )


def _row(row: Row) -> str:
    box = " ".join(f"{corner:.0f}" for corner in row.box)
    cells = (
        str(row.number),
        escape(row.phrase),
        escape(row.label or ""),
        rounded_down(row.peak),
        rounded_down(row.mean),
        "yes" if row.is_kept else "no",
        "" if row.is_kept else escape(row.reason),
        box,
    )
    kind = "kept" if row.is_kept else "dropped"
    return f"<tr class='{kind}'>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
