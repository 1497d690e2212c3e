"""A run of the demo models becomes a dataset in every form, as a person would make it."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import supervision as sv
from PIL import Image
from pycocotools.coco import COCO

from grounded_labeler.cli.export import FORMATS
from grounded_labeler.cli.export import main as export
from grounded_labeler.cli.preannotate import main as preannotate
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.exports.formats import FORMS
from grounded_labeler.preannotate.names import GROUPS
from tests.conftest import SAMPLES
from tests.exports.test_writing import rows
from tests.preannotate.label_studio_server import Project, serve
from tests.preannotate.test_kept import BOXES

pytestmark = pytest.mark.slow

SIZE_WH = (320, 240)
LABELS = "Star,Ring,Circle,Square,Triangle"


@pytest.fixture(autouse=True)
def demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")
    monkeypatch.setenv("SEGMENTER", "demo")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images in two folders, one of them empty, one turned, one broken."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("eins/bild 1.png", "eins/ü.png", "zwei/bild 1.png")):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw_image(np.random.default_rng(number), SIZE_WH).image).save(path)
    shutil.copy(SAMPLES / "rotated.jpg", folder / "zwei" / "rotated.jpg")
    Image.new("RGB", SIZE_WH, (90, 90, 90)).save(folder / "leer.png")
    (folder / "kaputt.jpg").write_bytes((SAMPLES / "wide.jpg").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `preannotate` made of them."""
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTOR", "demo")
        patch.setenv("SEGMENTER", "none")
        patch.setenv("SEGMENTER", "demo")
        command = ["--images", str(photos), "--labels", LABELS, "--prompt", "shape . star . ring"]
        assert preannotate([*command, "--out", str(out)]) == 2
    return out


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def test_the_command_knows_the_forms_there_are() -> None:
    assert tuple(FORMS) == FORMATS


def test_every_form_of_a_run(
    run: Path, photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(["--run", str(run), "--format", ",".join(FORMATS), "--out", str(out)]) == 2
    assert "5 images (5 in train), 1 of them empty" in capsys.readouterr().out
    [_, [broken, reason]] = rows(out / "left-out.tsv")
    assert (broken, reason) == ("kaputt.jpg", "The image file is damaged or cut short.")

    # The dataset that the run itself wrote has the same in it.
    own = COCO(run / "coco.json")
    coco = COCO(out / "coco/annotations/instances_train.json")
    classes = [one["name"] for one in coco.dataset["categories"]]
    assert classes == [*LABELS.split(","), "shape"]
    names = {row[0]: row[2] for row in rows(out / "images.tsv")[1:]}
    assert names == {
        "eins_bild_1.png": "eins/bild 1.png",
        "eins_ü.png": "eins/ü.png",
        "leer.png": "leer.png",
        "zwei_bild_1.png": "zwei/bild 1.png",
        "zwei_rotated.jpg": "zwei/rotated.jpg",
    }
    by_name = {one["file_name"]: one["id"] for one in own.dataset["images"]}
    for image in coco.dataset["images"]:
        mine = coco.loadAnns(coco.getAnnIds(image["id"]))
        theirs = own.loadAnns(own.getAnnIds(by_name[names[image["file_name"]]]))
        assert bool(mine) == (image["file_name"] != "leer.png")
        for one, other in zip(mine, theirs, strict=True):
            assert (coco.annToMask(one) == own.annToMask(other)).all()
            assert one["score"] == other["score"]
            assert one["bbox"] == pytest.approx(other["bbox"], abs=0.05)

    for name in ("yolo", "yolo-seg", "yolo-obb"):
        top = out / name
        read = sv.DetectionDataset.from_yolo(
            str(top / "images/train"), str(top / "labels/train"), str(top / "data.yaml"),
            is_obb=name == "yolo-obb",
        )  # fmt: skip
        assert read.classes == classes
        counts = {Path(path).name: len(found) for path, found in read.annotations.items()}
        assert counts == {
            image["file_name"]: len(coco.getAnnIds(image["id"])) for image in coco.dataset["images"]
        }
    voc = sv.DetectionDataset.from_pascal_voc(
        str(out / "voc/JPEGImages"), str(out / "voc/Annotations")
    )
    assert sum(map(len, voc.annotations.values())) == len(coco.anns)
    tasks = json.loads((out / "label-studio/tasks.json").read_text())
    assert [len(task["predictions"]) for task in tasks] == [1] * 5
    # What the photo shows lies where it was found, for readers without EXIF.
    with (
        Image.open(out / "png/images/train/zwei_rotated.jpg") as image,
        Image.open(out / "png/masks/train/zwei_rotated.png") as mask,
        Image.open(photos / "zwei" / "rotated.jpg") as stored,
    ):
        assert image.size == mask.size == stored.size[::-1]
        assert np.asarray(mask).any()


def test_splits_keep_folders_together(run: Path, out: Path) -> None:
    command = ["--run", str(run), "--format", "yolo", "--out", str(out), "--images", "link"]
    split = ["--split", "0.5/0.5", "--seed", "7", "--group-by", "folder"]
    assert export([*command, *split]) == 2
    listed = [(row[2].rpartition("/")[0], row[1]) for row in rows(out / "images.tsv")[1:]]
    assert len(set(listed)) == 3
    assert Counter(side for _, side in listed) in ({"train": 3, "val": 2}, {"train": 2, "val": 3})
    links = [path for path in (out / "yolo/images").rglob("*") if path.is_symlink()]
    assert len(links) == 4  # the turned photo is a file of its own


def test_near_duplicates_of_a_run_stay_together(run: Path, out: Path, tmp_path: Path) -> None:
    grouped = tmp_path / "run"
    shutil.copytree(run, grouped)
    groups = {"eins/bild 1.png": "g", "zwei/rotated.jpg": "g", "leer.png": "g"}
    (grouped / GROUPS).write_text(json.dumps({"groups": groups}))
    command = ["--run", str(grouped), "--format", "yolo", "--split", "0.6/0.4", "--out", str(out)]
    assert export([*command, "--group-by", "near-duplicate"]) == 2
    listed = rows(out / "images.tsv")[1:]
    assert {row[2] for row in listed if row[1] == "train"} == set(groups)
    assert {row[2]: row[6] for row in listed if row[6]} == groups


def test_an_image_that_was_changed_since_is_left_out(
    photos: Path, run: Path, out: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    made = tmp_path / "run"
    command = ["--images", str(moved), "--labels", "Star", "--limit", "5", "--out", str(made)]
    preannotate(command)
    shutil.copy(moved / "eins" / "ü.png", moved / "eins" / "bild 1.png")
    (moved / "leer.png").unlink()
    assert export(["--run", str(made), "--format", "coco", "--out", str(out)]) == 2
    left_out = dict(rows(out / "left-out.tsv")[1:])
    assert left_out["eins/bild 1.png"] == "The image is not the one any more that was looked at."
    assert left_out["leer.png"] == "The file is not there any more."
    assert left_out["zwei/rotated.jpg"].startswith("It was not looked at")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--run", "nowhere"], "nowhere holds no results"),
        (["--run", "{run}", "--group-by", "near-duplicate"], "--group-duplicates"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    options: list[str], said: str, run: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [option.format(run=run) for option in options]
    assert export([*given, "--format", "coco", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--run", "x", "--project", "7"],
        ["--run", "x", "--reviewed"],
        ["--run", "x", "--split", "0.8/0.3"],
        ["--run", "x", "--split", "1/2/3/4"],
        ["--run", "x", "--format", "tfrecord"],
        [],
    ],
)
def test_wrong_options_are_refused(
    options: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        export(["--format", "coco", "--out", str(out), *options])
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_journal_of_an_earlier_version_says_what_to_do(
    run: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    with closing(sqlite3.connect(old / "journal.sqlite3")) as database:
        database.execute("DROP TABLE images")
    assert export(["--run", str(old), "--format", "coco", "--out", str(out)]) == 1
    assert "run the same `preannotate` once more" in capsys.readouterr().err


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project of two tasks with uploaded images."""
    made = Project(BOXES)
    for sample in ("wide.jpg", "tall.jpg"):
        made.add(f"/data/upload/7/12345678-{sample}", (SAMPLES / sample).read_bytes())
    with serve(made):
        monkeypatch.setenv("LABEL_STUDIO_URL", made.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
        yield made


def test_a_run_of_a_project_reads_its_images_there(
    project: Project, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = tmp_path / "run"
    command = ["--project", str(project.number), "--out", str(made)]
    assert preannotate([*command, "--export", str(tmp_path / "coco.json")]) == 0
    project.fetched.clear()
    command = ["--run", str(made), "--format", "coco,label-studio", "--out", str(out)]
    assert export(command) == 0
    assert len(project.fetched) == 2
    tasks = json.loads((out / "label-studio/tasks.json").read_text())
    assert {task["data"]["image"] for task in tasks} == {
        "/data/upload/7/12345678-wide.jpg", "/data/upload/7/12345678-tall.jpg",
    }  # fmt: skip
    assert len(list((out / "coco/images/train").iterdir())) == 2

    capsys.readouterr()
    monkeypatch.delenv("LABEL_STUDIO_URL")
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    assert export(command) == 1
    assert "set LABEL_STUDIO_URL to it" in capsys.readouterr().err
    assert export([*command, "--images", "none"]) == 0


def test_predictions_in_label_studio_are_no_run(
    project: Project, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "run"
    assert preannotate(["--project", str(project.number), "--out", str(made)]) == 0
    assert export(["--run", str(made), "--format", "coco", "--out", str(out)]) == 1
    assert "holds no results" in capsys.readouterr().err


def test_a_run_with_stretched_images_is_exported_so(tmp_path: Path, out: Path) -> None:
    photos, made = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    grey = Image.fromarray(draw_image(np.random.default_rng(3), SIZE_WH).image).convert("L")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 16).save(photos / "deep.png")
    command = ["--images", str(photos), "--labels", "Star", "--out", str(made)]
    extremes = []
    for options in ([], ["--stretch"]):
        assert preannotate([*command, *options]) == 0
        assert export(["--run", str(made), "--format", "coco", "--out", str(out)]) == 0
        with Image.open(out / "coco/images/train/deep.png") as image:
            pixels = np.asarray(image.convert("L"))
        extremes.append((int(pixels.min()), int(pixels.max())))
    [(_, brightest), stretched] = extremes
    assert brightest <= 16
    assert stretched == (0, 255)
