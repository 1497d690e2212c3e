"""The list of the models: readable at the width of a terminal, complete as JSON."""

import json
import re
import shutil
from pathlib import Path

import pytest

from grounded_labeler.cli import models, verify
from grounded_labeler.cli.models import main
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.listing import write_listing
from grounded_labeler.weights.model import LISTING, ModelFile

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("width", [100, 160])
def test_a_terminal_has_a_line_for_each_model(
    width: int, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["--model-dir", str(tmp_path)]) == 0
    shown = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)  # the heads are bold
    tables = shown.split("\n-: ")[0].splitlines()
    # Two heads and an empty line.
    assert len(tables) == len(DETECTORS) + len(SEGMENTERS) + 3
    assert max(map(len, tables)) <= width
    rows = {line.split()[0]: line for line in tables if line.strip()}
    assert "~692 MB" in rows["llmdet-tiny"]
    assert "44.7" in rows["llmdet-tiny"]
    assert "SAM License" in rows["sam3"]
    assert rows["mobile-sam"].split()[-3:] == ["no", "values", "no"]


@pytest.mark.slow
def test_a_verified_model_is_shown_as_such(tmp_path: Path, capsys: Capture) -> None:
    model_dir = ["--model-dir", str(tmp_path)]
    assert verify.main(["--detector", "demo", "--segmenter", "none", *model_dir]) == 0
    capsys.readouterr()
    assert main([*model_dir, "--json"]) == 0
    demos = [row for row in json.loads(capsys.readouterr().out) if row["name"] == "demo"]
    assert [row["verified"] for row in demos] == ["verified", "not verified"]
    assert main(model_dir) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[-2:] for line in lines if line.startswith("demo")]
    assert shown == [["yes", "yes"], ["yet", "yes"]]


def test_json_has_each_figure_with_its_source(tmp_path: Path, capsys: Capture) -> None:
    assert main(["--model-dir", str(tmp_path), "--json"]) == 0
    rows = {(row["kind"], row["name"]): row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == len(DETECTORS) + len(SEGMENTERS)
    tiny = rows["detector", "llmdet-tiny"]
    assert (tiny["size_bytes"], tiny["is_exact"]) == (692_000_000, False)
    assert {figure["figure"]: figure["value"] for figure in tiny["facts"]["published"]} == {
        "COCO val, box AP": 55.5,
        "LVIS minival, box AP": 44.7,
    }
    assert all(figure["source"] for figure in tiny["facts"]["published"])
    assert rows["detector", "groundingdino-swint-ogc"]["is_exact"]


def test_the_size_is_exact_once_the_files_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "edgetam"
    folder.mkdir()
    write_listing(folder, [ModelFile("model.safetensors", "", 55_000_000, "a" * 64)])
    [row] = [row for row in models.listed(tmp_path) if row.name == "edgetam"]
    assert (row.size_bytes, row.is_exact) == (55_000_000, True)
    shutil.rmtree(folder)
    [row] = [row for row in models.listed(tmp_path) if row.name == "edgetam"]
    assert row.size_bytes is None


def test_a_damaged_listing_is_a_sentence(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "edgetam").mkdir()
    (tmp_path / "edgetam" / LISTING).write_text("{")
    assert main(["--model-dir", str(tmp_path)]) == 1
    assert "is damaged: remove it" in capsys.readouterr().err
