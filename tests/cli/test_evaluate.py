"""The command evaluate on a folder with a COCO dataset, and what it says of what it cannot use."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from grounded_labeler.cli.evaluate import main
from grounded_labeler.demo.example import write_example

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    write_example(folder, 12)
    return folder


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")
    monkeypatch.setenv("SEGMENTER", "demo")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def options(example: Path, out: Path) -> list[str]:
    images, truth = str(example / "images"), str(example / "truth.json")
    return ["--images", images, "--truth", truth, "--out", str(out)]


def test_a_folder_is_evaluated_as_pycocotools_does_on_its_own_dataset(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(options(example, out)) == 0
    written = read(out / "evaluation.json")
    assert "were found (recall " in capsys.readouterr().out
    assert [one["label"] for one in written["labels"]] == ["Disc", "Square", "Star", "Ring"]
    assert written["images"] == 12

    ours, theirs = read(out / "truth.json"), COCO(str(example / "truth.json"))
    images = {one["file_name"]: one["id"] for one in theirs.dataset["images"]}
    image_of = {one["id"]: images[one["file_name"]] for one in ours["images"]}
    labels = {one["name"]: one["id"] for one in theirs.dataset["categories"]}
    label_of = {one["id"]: labels[one["name"]] for one in ours["categories"]}
    found = [
        one | {"image_id": image_of[one["image_id"]], "category_id": label_of[one["category_id"]]}
        for one in read(out / "detections.json")
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(theirs, theirs.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert written["boxes"]["ap"] == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert written["boxes"]["ap50"] == pytest.approx(evaluation.stats[1], abs=1e-6)
    assert written["boxes"]["ar100"] == pytest.approx(evaluation.stats[8], abs=1e-6)


def test_a_prompt_is_asked_instead_of_the_labels(example: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*options(example, out), "--prompt", "circle -> Disc", "--no-masks"]) == 0
    written = read(out / "evaluation.json")
    assert [one["label"] for one in written["labels"]] == ["Disc"]
    assert set(written["not_asked"]) == {"Square", "Star", "Ring"}
    assert written["masks"] is None


def test_deep_images_are_measured_stretched_where_that_is_asked_for(
    example: Path, tmp_path: Path
) -> None:
    shutil.copytree(example, tmp_path / "deep")
    for path in (tmp_path / "deep" / "images").iterdir():
        pixels = np.asarray(Image.open(path).convert("RGB"))[..., ::-1].astype(np.uint16)
        assert cv2.imwrite(str(path), pixels * 16)
    found = []
    for name, option in (("dark", []), ("bright", ["--stretch"])):
        asked = [*options(tmp_path / "deep", tmp_path / name), "--no-masks", *option]
        assert main(asked) == 0
        labels = read(tmp_path / name / "evaluation.json")["labels"]
        found.append(sum(one["recall"]["value"] for one in labels))
    assert found[0] < found[1]


def test_two_prompts_are_compared(example: Path, tmp_path: Path) -> None:
    out, compare = tmp_path / "out", ["--compare", "now", "prompt=circle -> Disc;box_threshold=0.2"]
    assert main([*options(example, out), "--labels", "Disc", "--no-masks", *compare]) == 0
    written = read(out / "comparison.json")
    assert written["name_b"] == compare[2]
    assert written["b"]["total"]["thresholds"] == [0.2]
    assert written["total"]["only_b"] > written["total"]["only_a"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--compare", "now", "promt=car"], '--compare has "promt=car", which must be now'),
        (["--compare", "now", "detector=llmdet-tiny"], "llmdet-tiny"),
        (["--labels", "Disc", "--prompt", " "], "no labels to look for"),
        (["--truth", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    more: list[str],
    said: str,
    example: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert main([*options(example, tmp_path / "out"), *more]) == 1
    sentence = capsys.readouterr().err
    assert said in sentence
    assert sentence.count("\n") == 1


def test_a_journal_that_is_none_is_told(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal.sqlite3").write_text("no database" * 100)
    assert main(options(example, tmp_path)) == 1
    assert "journal" in capsys.readouterr().err


def test_files_of_others_are_not_replaced(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "truth.json"
    theirs.write_bytes((example / "truth.json").read_bytes())
    images = ["--images", str(example / "images")]
    for truth in (theirs, example / "truth.json"):
        assert main([*images, "--truth", str(truth), "--out", str(tmp_path)]) == 1
        assert "name another --out" in capsys.readouterr().err
    assert theirs.read_bytes() == (example / "truth.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]
    # Nor where a run wrote before.
    out = tmp_path / "out"
    assert main([*options(example, out), "--no-masks"]) == 0
    written = (out / "truth.json").read_bytes()
    assert main([*images, "--truth", str(out / "truth.json"), "--out", str(out)]) == 1
    assert "name another --out" in capsys.readouterr().err
    assert (out / "truth.json").read_bytes() == written


@pytest.mark.parametrize(
    "wrong",
    [
        ["--images", "photos"],
        ["--project", "7", "--truth", "coco.json"],
        ["--project", "7", "--floor", "-0.1"],
        ["--project", "7", "--floor", "1"],
        ["--project", "7", "--floor", "nan"],
        ["--project", "7", "--compare", "now"],
        [],
    ],
)
def test_options_that_do_not_go_together_end_the_command(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
