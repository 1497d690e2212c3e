"""Everything is written or nothing, over what this command made alone."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from grounded_labeler.errors import ExportError
from grounded_labeler.exports.formats import FORMS
from grounded_labeler.exports.placing import ImageFiles, objects_inside
from grounded_labeler.exports.split import Split
from grounded_labeler.exports.types import ExportDataset, ExportImage, LeftOut
from grounded_labeler.exports.writing import Writing, write_dataset
from tests.exports.making import SIZE_HW, box_of, frame, image_of, mask_of, png, turned_of

IMAGES = (
    image_of("a/x.png", mask_of("car", frame(), 0.9)),
    image_of("b/x.png", box_of("owl", 1, 2, 30, 40, score=0.5)),
    image_of("b/x.jpg"),
)


def writing(
    out: Path,
    *formats: str,
    split: Split | None = None,
    files: ImageFiles = "copy",
) -> Writing:
    return Writing(out, formats or ("coco",), split or Split(), files, 100_000_000)


def write(
    out: Path, images: Sequence[ExportImage] = IMAGES, *formats: str, split: Split | None = None
) -> int:
    dataset = ExportDataset(tuple(images), ("owl", "car"))
    how = writing(out, *formats, split=split)
    how.check()
    return write_dataset(dataset, how)


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, "excel-tab"))


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_forms_are_written_at_once(tmp_path: Path) -> None:
    assert write(tmp_path / "out", IMAGES, *FORMS) == 0
    made = files_below(tmp_path / "out")
    assert {name.split("/")[0] for name in made} == {*FORMS, "export.json", "images.tsv"}
    for name, form in FORMS.items():
        for file in ("a_x.png", "b_x.png", "b_x-2.png"):
            assert made[f"{name}/{form.images('train')}/{file}"] == png()
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_file_is_written_once_for_all_forms(tmp_path: Path) -> None:
    write(tmp_path / "out", IMAGES, "coco", "yolo")
    numbers = {path.stat().st_ino for path in (tmp_path / "out").rglob("a_x.png")}
    assert len(numbers) == 1


def test_classes_are_those_of_the_project_in_its_order_then_others(tmp_path: Path) -> None:
    images = [*IMAGES, image_of("c.png", box_of("phrase", 1, 2, 3, 4))]
    write(tmp_path / "out", images)
    made = json.loads((tmp_path / "out" / "export.json").read_text())
    assert made["classes"] == ["owl", "car", "phrase"]
    assert made["images"] == {"train": 4}


def test_the_list_of_images_says_where_each_comes_from(tmp_path: Path) -> None:
    images = [*IMAGES, image_of("tab\tand\nline.png", group="burst 1")]
    write(tmp_path / "out", images)
    header, *listed = rows(tmp_path / "out" / "images.tsv")
    assert header == ["file", "split", "source", "width", "height", "objects", "group"]
    assert listed[0] == ["a_x.png", "train", "a/x.png", "120", "80", "1", ""]
    assert listed[3][0] == "tab_and_line.png"
    assert listed[3][2:] == [r"tab\u0009and\u000aline.png", "120", "80", "0", "burst 1"]


def test_images_that_cannot_be_had_are_left_out_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = image_of("gone.png", data="The file is not there any more.")
    broken = image_of("broken.png", data=png()[:-40])
    other = image_of("other.png", data=png((10, 10)))
    dataset = ExportDataset((*IMAGES, gone, broken, other), (), (LeftOut("never.png", "Why."),))
    assert write_dataset(dataset, writing(tmp_path / "out", "coco", "yolo")) == 2
    header, *left_out = rows(tmp_path / "out" / "left-out.tsv")
    assert header == ["source", "reason"]
    assert [name for name, _ in left_out] == ["never.png", "gone.png", "broken.png", "other.png"]
    assert left_out[1][1] == "The file is not there any more."
    coco = COCO(tmp_path / "out/coco/annotations/instances_train.json")
    assert len(coco.getImgIds()) == 3
    assert len(list((tmp_path / "out/yolo/labels/train").iterdir())) == 3
    assert "3 images (3 in train), 1 of them empty" in capsys.readouterr().out


def test_nothing_is_written_without_an_image(tmp_path: Path) -> None:
    gone = image_of("gone.png", data="It is gone.")
    with pytest.raises(ExportError, match=r"no image to write. The first was left out: It is gone"):
        write(tmp_path / "out", [gone])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_what_failed_midway(tmp_path: Path) -> None:
    write(tmp_path / "out")
    before = files_below(tmp_path / "out")
    boxes = [image_of("a.png", box_of("owl", 1, 2, 3, 4))]
    with pytest.raises(ExportError, match="No object has a mask"):
        write(tmp_path / "out", boxes, "coco", "png")
    assert files_below(tmp_path / "out") == before
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_what_this_command_wrote_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out", IMAGES, "coco", "yolo")
    (tmp_path / "out/yolo/labels/train.cache").write_text("made by a trainer")
    write(tmp_path / "out", IMAGES[:1], "yolo")
    made = files_below(tmp_path / "out")
    assert not any(name.startswith("coco") for name in made)
    assert len([name for name in made if name.startswith("yolo/labels/")]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.parametrize("change", ["added", "edited", "removed", "foreign"])
def test_what_somebody_else_wrote_is_not(tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    if change == "foreign":
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    else:
        write(out, IMAGES, "yolo")
        labels = out / "yolo/labels/train"
        if change == "added":
            (labels / "mine.txt").write_text("")
        elif change == "edited":
            (labels / "a_x.txt").write_text((labels / "a_x.txt").read_text().replace("1", "0", 1))
        else:
            (labels / "a_x.txt").unlink()
    before = files_below(out)
    with pytest.raises(ExportError, match="did not write, or that were changed since"):
        write(out)
    assert files_below(out) == before


def test_an_empty_folder_is_taken_and_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert write(tmp_path / "empty") == 0
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match="is no folder"):
        write(tmp_path / "file")


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "images.tsv").is_file()


def test_links_lead_to_files_that_are_as_they_were_seen(tmp_path: Path) -> None:
    source = tmp_path / "x.png"
    source.write_bytes(png())
    image = ExportImage("x.png", SIZE_HW, (), "", source.read_bytes, path=source)
    dataset = ExportDataset((image, IMAGES[0]), ())
    write_dataset(dataset, writing(tmp_path / "out", "yolo", files="link"))
    images = tmp_path / "out/yolo/images/train"
    assert (images / "x.png").readlink() == source
    assert not (images / "a_x.png").is_symlink()


def test_without_files_nothing_is_read(tmp_path: Path) -> None:
    image = image_of("sub/gone.jpg", box_of("owl", 1, 2, 3, 4), data="It is gone.")
    how = writing(tmp_path / "out", "coco", "yolo", "voc", files="none")
    assert write_dataset(ExportDataset((image,), ()), how) == 0
    made = files_below(tmp_path / "out")
    assert "yolo/labels/train/sub_gone.txt" in made
    assert not any("images/" in name or "JPEGImages" in name for name in made)
    coco = json.loads(made["coco/annotations/instances_train.json"])
    assert coco["images"][0]["file_name"] == "sub/gone.jpg"


def test_sides_have_folders_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [image_of(f"{i}.png") for i in range(10)]
    write(tmp_path / "out", images, "yolo", split=Split((0.6, 0.3, 0.1), 7))
    sides = {
        side: len(list((tmp_path / f"out/yolo/images/{side}").iterdir()))
        for side in ("train", "val", "test")
    }
    assert sides == {"train": 6, "val": 3, "test": 1}
    write(tmp_path / "out", images[:2], "yolo", split=Split((0.8, 0.1, 0.1), 7))
    assert "No image is in test" in capsys.readouterr().out


def test_the_same_is_written_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, IMAGES, *FORMS, split=Split((0.5, 0.5), 3))
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


def test_objects_are_cut_off_at_the_edge() -> None:
    empty = mask_of("x", np.zeros(SIZE_HW, np.bool_))
    objects = [
        box_of("out", -10, -10, 20, 500),
        box_of("gone", 130, 10, 140, 20),
        box_of("nan", np.nan, 10, 20, 20),
        empty,
        turned_of("turned", (115.0, 40.0, 40.0, 20.0), 10.0),
    ]
    inside = objects_inside(image_of("a.png", *objects)).objects
    assert [one.label for one in inside] == ["out", "turned"]
    assert inside[0].box.tolist() == [0, 0, 20, 80]
    assert inside[1].box[2] == 120


def test_a_mask_without_a_box_has_its_own() -> None:
    masked = mask_of("x", frame())
    flat = type(masked)("x", np.zeros(4, np.float32), masked.mask)
    [one] = objects_inside(image_of("a.png", flat)).objects
    assert one.box.tolist() == [20, 10, 70, 50]
