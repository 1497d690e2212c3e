"""Two variants compared on drawn images with the demo models, in one journal."""

import json
from pathlib import Path

import pytest

from grounded_labeler.core.types import Label
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.compare import compare_variants
from grounded_labeler.quality.evaluate import Measuring
from grounded_labeler.quality.subject import Subject
from grounded_labeler.quality.variants import read_changes
from grounded_labeler.settings import Settings
from tests.quality.drawn import draw, drawn_subject
from tests.quality.test_candidates import CountingRunner

pytestmark = pytest.mark.slow

SETTINGS = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})


def run(subject: Subject, out: Path, a: str, b: str, runner: CountingRunner | None = None) -> int:
    return compare_variants(
        subject,
        (read_changes(a), read_changes(b)),
        SETTINGS,
        Running(out, runner or CountingRunner()),
        prompt=None,
        measuring=Measuring(masks=False),
    )


def test_a_prompt_that_asks_for_less_loses_what_it_does_not_ask_for(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(15), [Label("Circle")])
    out = tmp_path / "out"
    code = run(
        subject, out, "prompt=circle -> Circle", "prompt=red circle -> <b>; circle -> Circle"
    )
    assert code == 0
    code = run(subject, out, "prompt=circle -> Circle", "prompt=red circle -> Circle")
    assert code == 0
    written = json.loads((out / "comparison.json").read_text())
    [circle] = written["labels"]
    assert circle["only_a"] > 0
    assert circle["only_b"] == 0
    assert circle["f1"]["high"] < 0
    assert set(written["different"]) == {one["task"] for one in written["b"]["worst"]} - {
        one["task"] for one in written["a"]["worst"]
    }
    page = (out / "comparison.html").read_text()
    assert "A is better" in page
    assert (out / "a" / "report.html").exists()
    assert json.loads((out / "b" / "evaluation.json").read_text()) == written["b"]
    assert (out / "comparison.csv").read_text().startswith("label,objects,both")


def test_thresholds_and_models_are_compared_in_one_journal(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(3))
    runner, out = CountingRunner(), tmp_path / "out"
    assert run(subject, out, "now", "box_threshold=0.8", runner) == 0
    assert runner.tasks == 3, "another threshold needs no run"
    written = json.loads((out / "comparison.json").read_text())
    assert written["b"]["total"]["thresholds"] == [0.8]
    assert written["total"]["only_b"] == 0
    assert run(subject, out, "now", "segmenter=none", runner) == 0
    written = json.loads((out / "comparison.json").read_text())
    assert written["different"] == []
    assert "In no image do they differ." in (out / "comparison.html").read_text()


def test_labels_that_one_side_does_not_look_for_are_missed_by_it(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(3), [Label("Circle"), Label("Star")])
    out = tmp_path / "out"
    assert run(subject, out, "now", "prompt=circle") == 0
    written = json.loads((out / "comparison.json").read_text())
    assert [one["label"] for one in written["labels"]] == ["Circle", "Star"]
    assert written["labels"][1]["only_a"] == written["a"]["labels"][1]["found"] > 0
    assert "B (prompt=circle) does not look for “Star”" in (out / "comparison.html").read_text()


def test_images_that_fail_are_left_out_of_both(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(3))
    (tmp_path / "images" / "0001.png").write_bytes(b"no image")
    assert run(subject, tmp_path / "out", "now", "prompt=circle") == 2
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written["images"] == 2
    assert "0001.png\t" in (tmp_path / "out" / "failures.tsv").read_text()
