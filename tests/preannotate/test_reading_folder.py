"""Which files of a folder are its images, and that each of them can be read."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from grounded_labeler.cli.preannotate import main
from grounded_labeler.errors import ImageError, SettingsError
from grounded_labeler.images import decode as decoding
from grounded_labeler.preannotate.image_folder import SUFFIXES, FolderReader, read_folder
from grounded_labeler.preannotate.report import write_sheet
from tests.conftest import SAMPLES
from tests.preannotate.outcomes import task_result

LATIN1 = os.fsdecode(b"caf\xe9.jpg")  # a name that is not UTF-8


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / "wide.jpg", path)


def names(*paths: Path, out: Path = Path("/nowhere")) -> list[str]:
    return sorted(read_folder(paths, out).paths)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    put(folder / "a.jpg", folder / "sub" / "b.JPG")
    return folder


def test_links_are_read_whatever_they_lead_to(images: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "far.jpg", tmp_path / "elsewhere" / "deep" / "farther.jpg")
    (images / "outside.jpg").symlink_to(tmp_path / "elsewhere" / "far.jpg")
    (images / "inside.jpg").symlink_to("a.jpg")
    (images / "chain.jpg").symlink_to("inside.jpg")
    (images / "0 folder").symlink_to(tmp_path / "elsewhere")
    assert names(images) == [
        "0 folder/deep/farther.jpg",
        "0 folder/far.jpg",
        "a.jpg",
        "chain.jpg",
        "inside.jpg",
        "outside.jpg",
        "sub/b.JPG",
    ]
    folder, reader = read_folder([images], tmp_path), FolderReader(10**9)
    for task in folder.tasks:
        assert reader.fetch(task["data"]["image"], None) == (SAMPLES / "wide.jpg").read_bytes()


def test_loops_of_links_end_and_each_folder_is_read_once(images: Path, tmp_path: Path) -> None:
    (images / "sub" / "up").symlink_to("..")
    (images / "self").symlink_to("self")
    (images / "0 again").symlink_to("sub")
    put(images / "x" / "x.jpg", images / "y" / "y.jpg")
    (images / "x" / "to y").symlink_to("../y")
    (images / "y" / "to x").symlink_to("../x")
    assert names(images) == ["a.jpg", "sub/b.JPG", "x/x.jpg", "y/y.jpg"]


def test_a_folder_that_is_a_link_is_that_folder(images: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(images)
    assert names(link) == names(images)
    there, here = (read_folder([path], tmp_path) for path in (link, images))
    assert there.identity == here.identity


def test_a_link_to_nothing_is_a_missing_image(images: Path, tmp_path: Path) -> None:
    (images / "gone.jpg").symlink_to("nowhere.jpg")
    (images / "loop.jpg").symlink_to("loop.jpg")
    (images / "gone.txt").symlink_to("nowhere.txt")
    folder = read_folder([images], tmp_path)
    assert sorted(folder.paths) == ["a.jpg", "gone.jpg", "loop.jpg", "sub/b.JPG"]
    for task in folder.tasks:
        if task["id"] in {"gone.jpg", "loop.jpg"}:
            with pytest.raises(ImageError, match=r"^The link leads to no file\.$"):
                FolderReader(10**9).fetch(task["data"]["image"], None)


def test_a_pipe_is_not_waited_for(images: Path, tmp_path: Path) -> None:
    os.mkfifo(images / "pipe.jpg")
    folder = read_folder([images], tmp_path)
    assert folder.said == "Passed over: 1 pipe(s) or device(s)."
    with pytest.raises(ImageError, match="is not there any more"):
        FolderReader(10**9).fetch(str(images / "pipe.jpg"), None)


def test_no_sentence_about_a_file_names_a_setting_nobody_made(images: Path) -> None:
    reader = FolderReader(1000)
    with pytest.raises(ImageError) as missing:
        reader.fetch(str(images / "missing.jpg"), None)
    assert "LOCAL_FILES_ROOT" not in str(missing.value)
    with pytest.raises(ImageError, match="MAX_IMAGE_BYTES"):
        reader.fetch(str(images / "a.jpg"), None)


@pytest.mark.parametrize(
    "left_out",
    [
        "._a.jpg", ".hidden.jpg", ".thumbnails/a.jpg", "__MACOSX/a.jpg", "__MACOSX/._a.jpg",
        ".DS_Store", "Thumbs.db", "sub/desktop.ini", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    ],
)  # fmt: skip
def test_hidden_files_and_what_file_managers_leave_are_left_out(
    images: Path, left_out: str
) -> None:
    put(images / left_out)
    folder = read_folder([images], Path("/nowhere"))
    assert sorted(folder.paths) == ["a.jpg", "sub/b.JPG"]
    assert folder.said == ""


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    put(tmp_path / ".cache" / "a.jpg", tmp_path / ".cache" / ".b.jpg")
    assert names(tmp_path / ".cache") == ["a.jpg"]
    assert names(tmp_path / ".cache" / ".b.jpg") == [".b.jpg"]


def test_what_is_passed_over_is_counted_by_kind(images: Path) -> None:
    for name in ("1.INDD", "2.indd", "sub/3.indd", "notes.txt", "README", "x.what is this"):
        (images / name).touch()
    folder = read_folder([images], Path("/nowhere"))
    assert folder.said == "Passed over: 3 .indd, 2 without a suffix, 1 .txt."
    for number in range(30):
        (images / f"x.s{number:02}").touch()
    assert read_folder([images], Path("/nowhere")).said.endswith(" 1 .s06, 1 .s07, 23 others.")


def test_it_is_said_once_and_on_one_line(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "1.indd").touch()
    for number in range(9):
        (images / f"1.[red]{number}").touch()
        (images / f"1.longsuffi{number}").touch()
    out = ["--out", str(tmp_path / "out")]
    assert main(["--images", str(images), "--labels", "Star", "--dry-run", *out]) == 0
    [line] = [one for one in capsys.readouterr().out.splitlines() if "Passed over" in one]
    assert line.startswith("Passed over: 9 without a suffix, 1 .indd, 1 .longsuffi0, ")


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_all_that_counts_as_an_image_by_its_name_can_be_decoded(
    suffix: str, tmp_path: Path
) -> None:
    kind = Image.registered_extensions().get(suffix, "JPEG")
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (30, 20), "red").save(path, format=kind)
    assert decoding.decode(path.read_bytes()).shape == (20, 30, 3)
    assert names(tmp_path) == [path.name]


def test_all_that_can_be_decoded_counts_as_an_image() -> None:
    kinds = Image.registered_extensions().items()
    assert {suffix for suffix, kind in kinds if kind in decoding._FORMATS} <= SUFFIXES


@pytest.mark.parametrize("suffix", [".cr2", ".nef", ".dng"])
def test_the_thumbnail_of_a_raw_photo_is_not_taken_for_it(suffix: str, images: Path) -> None:
    Image.new("RGB", (30, 20)).save(images / f"raw{suffix}", format="TIFF")
    assert read_folder([images], Path("/nowhere")).said == f"Passed over: 1 {suffix}."


def test_a_folder_below_that_cannot_be_read_is_counted(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    folder = read_folder([images], Path("/nowhere"))
    assert sorted(folder.paths) == ["a.jpg"]
    assert folder.said == "Passed over: 1 unreadable folder(s)."
    with pytest.raises(SettingsError, match="sub cannot be read: Permission denied"):
        read_folder([images / "sub"], Path("/nowhere"))


def test_files_and_folders_are_named_together(images: Path, tmp_path: Path) -> None:
    put(tmp_path / "one.jpg", tmp_path / "more" / "c.jpg")
    assert names(tmp_path / "one.jpg") == ["one.jpg"]
    assert names(images / "a.jpg", images / "sub" / "b.JPG") == ["a.jpg", "sub/b.JPG"]
    assert names(images / "a.jpg", images / "a.jpg", images) == ["a.jpg", "sub/b.JPG"]
    assert names(tmp_path / "more", images / "a.jpg") == ["images/a.jpg", "more/c.jpg"]
    assert names(images, images / "sub") == ["a.jpg", "sub/b.JPG"]


def test_a_source_is_its_outermost_folders(images: Path, tmp_path: Path) -> None:
    """So `photos/*.jpg` is the same source when photos were added."""

    def identity(*paths: Path) -> str:
        return read_folder(paths, Path("/nowhere")).identity

    put(tmp_path / "more" / "c.jpg")
    assert identity(images) == identity(images / "a.jpg")
    assert identity(images) == identity(images / "a.jpg", images / "sub")
    assert identity(images) == identity(images / "sub" / ".." / "a.jpg")
    assert identity(images) != identity(images, tmp_path / "more")
    assert identity(images) != identity(images / "sub")


def test_relative_paths_are_of_where_the_command_runs(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    assert names(Path()) == names(Path("a.jpg"), Path("sub")) == ["a.jpg", "sub/b.JPG"]
    monkeypatch.chdir(images / "sub")
    assert names(Path("b.JPG")) == ["b.JPG"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere"], "nowhere is no folder with images"),
        (["a.jpg", "nowhere.jpg"], "nowhere.jpg is no folder with images"),
        (["empty"], r"empty is no folder with images .*\(.*\.jpg, .*\) in it"),
        (["notes"], r"Passed over: 2 \.indd, 1 \.txt\."),
        (["notes/1.indd"], r"1\.indd is no folder .* Passed over: 1 \.indd\."),
    ],
)
def test_no_image_is_one_sentence(
    images: Path, given: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "empty").mkdir()
    (images / "notes").mkdir()
    for name in ("1.indd", "2.indd", "notes.txt"):
        (images / "notes" / name).touch()
    monkeypatch.chdir(images)
    with pytest.raises(SettingsError, match=said):
        read_folder([Path(one) for one in given], Path("/nowhere"))


Label = Callable[..., int]


@pytest.fixture
def label(monkeypatch: pytest.MonkeyPatch) -> Label:
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")
    return lambda *options: main(["--labels", "Star,Circle", *options])


def dataset(out: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((out / "coco.json").read_text())
    return made


@pytest.mark.parametrize("out", ["preannotated", "results/today", "."])
def test_what_the_command_wrote_is_no_image_of_the_next_run(
    out: str, images: Path, label: Label, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(images)
    put(images / "sheets" / "sheet.jpg")  # a person's own
    for _ in range(2):
        assert label("--images", ".", "--out", out) == 0
    assert (images / out / "sheet.jpg").exists()
    # Nor that of a run with another --out, or a copy of the sheet.
    shutil.copy(images / out / "sheet.jpg", images / "sub" / "sheet.jpg")
    assert label("--images", ".", "--out", "other") == 0
    made = [one["file_name"] for one in dataset(images / "other")["images"]]
    assert made == ["a.jpg", "sheets/sheet.jpg", "sub/b.JPG"]
    assert "Passed over" not in capsys.readouterr().out


def test_a_sheet_is_known_by_its_note(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    write_sheet([("a", task_result("Star"))], "image", lambda _: pixels, tmp_path / "sheet.jpg")
    with pytest.raises(SettingsError):
        names(tmp_path)
    shutil.move(tmp_path / "sheet.jpg", tmp_path / "mine.jpg")
    assert names(tmp_path) == ["mine.jpg"]


def test_annotations_of_somebody_else_are_not_replaced(
    images: Path, label: Label, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "coco.json").write_text("{}")
    assert label("--images", str(images), "--out", str(images)) == 1
    assert "coco.json is there and was not made by this command" in capsys.readouterr().err
    assert (images / "coco.json").read_text() == "{}"
    assert not (images / "journal.sqlite3").exists()


def test_names_that_are_not_utf8_go_through(
    images: Path, tmp_path: Path, label: Label, capsys: pytest.CaptureFixture[str]
) -> None:
    put(images / LATIN1, images / os.fsdecode(b"\xff\xfe") / "tab\there.jpg")
    (images / os.fsdecode(b"broken\n\xe9.png")).write_text("no image")
    (images / "café.jpg").symlink_to("a.jpg")
    out = tmp_path / os.fsdecode(b"out \xe9")
    for _ in range(2):
        assert label("--images", str(images), "--out", str(out)) == 2
        made = dataset(out)
        assert len(made["images"]) == 5
        for one in made["images"]:
            assert (images / one["file_name"]).read_bytes() == (SAMPLES / "wide.jpg").read_bytes()
        assert LATIN1 in {one["file_name"] for one in made["images"]}
        assert len(COCO(out / "coco.json").imgs) == 5
        [line] = (out / "failures.tsv").read_text(encoding="utf-8").splitlines()
        assert line.startswith("broken\\u000a\\xe9.png\tThe file is not an image")
    said = capsys.readouterr().out
    assert "6 tasks, 1 of them to look at" in said
    assert said.encode()


def test_links_and_single_files_are_labelled(images: Path, tmp_path: Path, label: Label) -> None:
    (images / "link.jpg").symlink_to(SAMPLES / "tall.jpg")
    out = tmp_path / "out"
    given = [str(images / "link.jpg"), str(images / "a.jpg"), str(images / "sub")]
    assert label("--out", str(out), "--images", *given) == 0
    made = dataset(out)
    assert [one["file_name"] for one in made["images"]] == ["a.jpg", "link.jpg", "sub/b.JPG"]
    assert all(one["image_id"] in {1, 2, 3} for one in made["annotations"])
    assert not (out / "failures.tsv").exists()


def test_photos_of_phones_are_images(tmp_path: Path) -> None:
    names = {"a.heic", "b.HEIC", "c.heif", "d.avif", "e.hif"}
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert set(read_folder([tmp_path], tmp_path / "out").paths) == names
