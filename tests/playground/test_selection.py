"""Thresholds choose among candidates as the service does, and say why."""

import numpy as np

from grounded_labeler.core.prompt import Phrase, Prompt
from grounded_labeler.core.types import Candidates, Thresholds
from grounded_labeler.playground.selection import Limits, detections_of, names_of, rows_of
from grounded_labeler.playground.table import candidates_table
from grounded_labeler.server.inspector import Inspection

BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [1, 0, 10, 10], [40, 0, 50, 10]], np.float32)
SCORES = np.array([[0.9, 0], [0.5, 0], [0.6, 0], [0, 0.35]], np.float32)


def inspection(own: tuple[float | None, ...] = (None, None)) -> Inspection:
    candidates = Candidates(BOXES, SCORES, SCORES, np.zeros(4, np.intp))
    prompt = Prompt((Phrase("<star>"), Phrase("ring", "Ring")))
    return Inspection(
        (60, 20), prompt, (None, "Ring"), own, Thresholds(0.3, 0.25, 0.7, 300), candidates
    )


def test_a_higher_threshold_keeps_fewer() -> None:
    counts = [len(detections_of(inspection(), Limits(box, 0.1))) for box in (0.3, 0.4, 0.7, 1.0)]
    assert counts == [3, 2, 1, 0]
    assert len(detections_of(inspection(), Limits(0.3, 0.6))) == 1


def test_a_label_keeps_its_own_threshold() -> None:
    kept = detections_of(inspection((None, 0.3)), Limits(0.8, 0.1))
    assert list(names_of(kept)) == ["(<star>)", "Ring"]


def test_every_candidate_has_a_reason() -> None:
    rows = rows_of(inspection(), Limits(0.4, 0.1))
    assert [(row.number, row.is_kept, row.reason) for row in rows] == [
        (1, True, "kept"),
        (2, False, "overlaps one that fits better: number 1"),
        (3, True, "kept"),
        (4, False, "below the box threshold, 0.4"),
    ]
    boxes = detections_of(inspection(), Limits(0.4, 0.1)).boxes.tolist()
    assert [list(row.box) for row in rows if row.is_kept] == boxes


def test_the_text_threshold_is_named() -> None:
    *_, last = rows_of(inspection(), Limits(0.3, 0.4))
    assert last.reason == "below the text threshold, 0.4"


def test_what_somebody_typed_is_no_html() -> None:
    html = candidates_table(rows_of(inspection(), Limits(0.4, 0.1)))
    assert "<star>" not in html
    assert "&lt;star&gt;" in html
    assert "No candidates" in candidates_table([])


def test_long_tables_end() -> None:
    [row, *_] = rows_of(inspection(), Limits(0.4, 0.1))
    assert "And 700 others" in candidates_table([row] * 1000)
