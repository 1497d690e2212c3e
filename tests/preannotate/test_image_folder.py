"""A folder of images is labelled by one command, which goes on where it was ended."""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from grounded_labeler.cli.preannotate import main
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.demo.process import ROOT
from tests.conftest import SAMPLES
from tests.helpers.serving import PATIENCE_S, wait_until
from tests.label_studio.test_backend import true_boxes

pytestmark = pytest.mark.slow

LABELS = "Circle,Square,Triangle,Star,Ring"
Dataset = dict[str, Any]
Label = Callable[..., int]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The bundled ones, one of them once more in a folder of its own."""
    folder = tmp_path / "my images & others"
    (folder / "sub").mkdir(parents=True)
    for sample in SAMPLES.glob("*.jpg"):
        shutil.copy(sample, folder)
    shutil.copy(SAMPLES / "wide.jpg", folder / "sub" / "again #1.JPG")
    return folder


@pytest.fixture
def label(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Label:
    """Run the command on these images with the demo models."""
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")
    monkeypatch.setenv("SEGMENTER", "demo")

    def run(*options: str, labels: str = LABELS) -> int:
        out = str(tmp_path / "out")
        return main(["--images", str(images), "--labels", labels, "--out", out, *options])

    return run


def dataset(out: Path) -> Dataset:
    made: Dataset = json.loads((out / "coco.json").read_text())
    return made


def boxes_of(made: Dataset, name: str, label: str) -> np.ndarray:
    """xyxy of the boxes of that label in that image."""
    [image] = [one["id"] for one in made["images"] if one["file_name"] == name]
    [category] = [one["id"] for one in made["categories"] if one["name"] == label]
    found = [
        one["bbox"] for one in made["annotations"]
        if (one["image_id"], one["category_id"]) == (image, category)
    ]  # fmt: skip
    corners = np.array(found, np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners


def test_what_is_there_is_found_and_can_be_read_as_coco(
    label: Label, tmp_path: Path, truth: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert label() == 0
    made = dataset(tmp_path / "out")
    names = ["large.jpg", "rotated.jpg", "sub/again #1.JPG", "tall.jpg", "wide.jpg"]
    assert sorted(one["file_name"] for one in made["images"]) == names
    for name in names:
        source = "wide.jpg" if name.startswith("sub") else name
        for kind in LABELS.split(","):
            shapes = [s["name"] for s in truth[source]["shapes"] if kind.lower() in s["name"]]
            expected = [true_boxes(truth, source, shape) for shape in dict.fromkeys(shapes)]
            found = boxes_of(made, name, kind)
            count = sum(map(len, expected))
            assert len(found) == count, (name, kind)
            if count:
                assert box_iou(np.concatenate(expected), found).max(axis=1).min() > 0.7
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "out" / "coco.json")
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in made["images"]}
    assert sizes["rotated.jpg"] == tuple(truth["rotated.jpg"]["displayed_size_wh"])
    for one in made["annotations"]:
        mask, (x, y, width, height) = coco.annToMask(one), one["bbox"]
        assert mask.sum() == one["area"] == rle.area(one["segmentation"])
        inside = mask[int(y) : int(y + height) + 1, int(x) : int(x + width) + 1]
        assert inside.sum() > 0.9 * mask.sum()
    sheet = Image.open(tmp_path / "out" / "sheet.jpg")
    assert sheet.size == (1600, 800)
    assert "5 tasks, 0 failed" in capsys.readouterr().out
    assert not (tmp_path / "out" / "failures.tsv").exists()
    log = (tmp_path / "out" / "log.txt").read_text()
    assert all(f": task {name}: " in log for name in names)
    assert "task wide.jpg: 640x480, 5 phrases, 5 found; ms: fetch" in log


def test_an_image_that_cannot_be_read_is_told_of_and_asked_for_again(
    label: Label, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.png").write_text("no image")
    assert label() == 2
    [line] = (tmp_path / "out" / "failures.tsv").read_text().splitlines()
    assert line.startswith("broken.png\tThe file is not an image")
    assert len(dataset(tmp_path / "out")["images"]) == 5
    shutil.copy(images / "tall.jpg", images / "broken.png")
    capsys.readouterr()
    assert label() == 0
    assert "6 tasks, 1 of them to look at" in capsys.readouterr().out
    assert len(dataset(tmp_path / "out")["images"]) == 6
    assert not (tmp_path / "out" / "failures.tsv").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "5 tasks, 0 of them to look at"),
        (("--overwrite",), "5 tasks, 5 of them to look at"),
        (("--limit", "2"), "5 tasks, 0 of them to look at"),
        (("--min-score", "0.9"), "5 tasks, 5 of them to look at"),
        (("--prompt", "red star"), "5 tasks, 5 of them to look at, for: red star; box threshold"),
        (("--min-score", "0.9"), "; box threshold 0.9 (command line), text threshold 0.25 (def"),
    ],
)
def test_only_what_was_not_asked_yet_is_asked(
    label: Label, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert label() == 0
    capsys.readouterr()
    assert label(*options) == 0
    assert said in capsys.readouterr().out


def test_a_prompt_finds_what_it_names_and_a_phrase_without_label_is_a_category(
    label: Label, tmp_path: Path
) -> None:
    assert label("--prompt", "blue star -> Star . red circle", labels="Star") == 0
    made = dataset(tmp_path / "out")
    assert [one["name"] for one in made["categories"]] == ["Star", "red circle"]
    assert len(boxes_of(made, "wide.jpg", "Star")) == 1
    assert len(boxes_of(made, "wide.jpg", "red circle")) == 1


def test_no_score_is_below_the_least(label: Label, tmp_path: Path) -> None:
    assert label() == 0
    scores = [one["score"] for one in dataset(tmp_path / "out")["annotations"]]
    least = float(np.median(scores))
    assert label("--min-score", str(least)) == 0
    kept = [one["score"] for one in dataset(tmp_path / "out")["annotations"]]
    assert 0 < len(kept) < len(scores)
    assert min(kept) >= least - 1e-4  # scores are rounded


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--images", "nowhere", "--labels", "a"], "nowhere is no folder with images"),
        (["--images", str(SAMPLES), "--labels", " , "], "Nothing to look for"),
        (["--images", str(SAMPLES), "--labels", "a", "--min-score", "7"], "--min-score is 7,"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1


def test_killed_again_and_again_it_loses_nothing_and_repeats_nothing(
    images: Path, tmp_path: Path, truth: dict[str, Any]
) -> None:
    for number in range(105):
        os.link(images / "wide.jpg", images / f"{number:03}.jpg")
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "grounded_labeler", "preannotate", "--images", str(images),
        "--labels", "Circle,Star", "--out", str(out),
    ]  # fmt: skip
    # Without a cache, or the same image again and again would take no time.
    environ = os.environ | {"DETECTOR": "demo", "SEGMENTER": "demo", "CACHE_BYTES": "0"}
    chance, asked = random.Random(0), []
    for _ in range(2):
        with subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        ) as process:  # fmt: skip
            assert process.stdout
            asked.append(int(process.stdout.readline().split()[2]))
            before = kept(out)
            wait_until(lambda: kept(out) > before)  # noqa: B023
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
            assert process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,  # for so many images
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asked.append(int(done.stdout.split()[2]))
    assert asked[0] == 110
    assert asked == sorted(asked, reverse=True)
    assert len(set(asked)) == len(asked), "each time some were kept"
    made = dataset(out)
    assert len({one["file_name"] for one in made["images"]}) == len(made["images"]) == 110
    star = true_boxes(truth, "wide.jpg", "blue star")
    for number in range(0, 105, 20):
        found = boxes_of(made, f"{number:03}.jpg", "Star")
        assert len(found) == 2
        assert box_iou(star, found).max() > 0.8


def kept(out: Path) -> int:
    """How many answers are in the journal by now."""
    try:
        with contextlib.closing(sqlite3.connect(out / "journal.sqlite3")) as database:
            return int(database.execute("SELECT COUNT(*) FROM outcomes").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet, or just being closed
        return 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--project --images"),
        (["--images", "x"], "--images needs --labels"),
        (["--images", "x", "--labels", "a", "--view", "1"], "are for --project"),
        (["--images", "x", "--labels", "a", "--task-ids", "1"], "are for --project"),
        (["--images", "x", "--labels", "a", "--export", "x.json"], "are for --project"),
        (["--project", "7", "--labels", "a"], "is for --images"),
        (["--project", "7", "--limit", "0"], "--limit: it must be at least 1"),
        (["--project", "7", "--concurrency", "-1"], "--concurrency: it must be at least 1"),
        (["--project", "7", "--images", "x"], "not allowed with"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_project_needs_an_address_and_a_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")
    assert main(["--project", "7"]) == 1
    assert "--project needs LABEL_STUDIO_URL" in capsys.readouterr().err
