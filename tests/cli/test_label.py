"""`grounded-labeler label` on the demo models: what it prints, draws and refuses."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from grounded_labeler.cli import label
from grounded_labeler.demo.small_things import PROMPT, draw_small_things
from grounded_labeler.labeler import Labeler
from tests.conftest import SAMPLES

pytestmark = pytest.mark.slow

WIDE = str(SAMPLES / "wide.jpg")
DEMO = ["--detector", "demo", "--segmenter", "demo"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def labeler() -> Iterator[Labeler]:
    with Labeler("demo", "demo") as loaded:
        yield loaded


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, labeler: Labeler) -> list[tuple[Any, ...]]:
    """Let commands share one labeler; what they would have loaded."""
    calls: list[tuple[Any, ...]] = []

    def load(*names: str, **_options: object) -> "Shared":
        calls.append(names)
        return Shared(labeler)

    monkeypatch.setattr(label, "Labeler", load)
    return calls


class Shared:
    def __init__(self, labeler: Labeler) -> None:
        self.labeler = labeler

    def __enter__(self) -> Labeler:
        return self.labeler

    def __exit__(self, *_error: object) -> None:
        """Leave the models to the next command."""


@pytest.fixture
def run(loaded: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        code = label.main([*arguments, *DEMO])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_one_image_is_drawn_and_what_was_found_is_printed(run: Run, tmp_path: Path) -> None:
    seen = tmp_path / "new" / "seen.png"
    code, out, err = run(WIDE, "blue star . ring . unicorn", "-o", str(seen))
    assert (code, err) == (0, "")
    assert f"{WIDE}  640 x 480" in out
    assert re.search(r"^ *blue star +blue star +0\.\d\d", out, re.MULTILINE)
    assert re.search(r"^ *ring +ring +0\.\d\d", out, re.MULTILINE)
    assert 'Nothing for "unicorn": its best score is 0.00.' in out
    assert f"Drawn in {seen}" in out
    with Image.open(seen) as drawn, Image.open(WIDE) as image:
        assert drawn.size == image.size
        assert (np.asarray(drawn) != np.asarray(image)).any()


def test_without_an_output_nothing_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(WIDE, "star")
    assert code == 0
    assert "Drawn" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_near_miss_is_told_with_the_threshold_that_shows_it(run: Run) -> None:
    [found] = map(json.loads, run(WIDE, "red circle", "--json")[1].splitlines())
    [score] = [one["score"] for one in found["objects"]]
    above, below = f"{score + 0.02:.2f}", f"{int(score * 100) / 100:.2f}"
    _, out, _ = run(WIDE, "red circle", "--box-threshold", above)
    assert (
        f'Just below the box threshold {float(above):.4g}: "red circle" {below}. '
        f"--box-threshold {below} shows it." in out
    )
    _, out, _ = run(WIDE, "red circle", "--box-threshold", below)
    assert "Just below" not in out
    assert "red circle" in out


def test_a_threshold_typed_in_the_prompt_goes_before_the_option(run: Run) -> None:
    [found] = map(json.loads, run(WIDE, "red circle", "--json")[1].splitlines())
    [score] = [one["score"] for one in found["objects"]]
    above, below = f"{score + 0.02:.2f}", f"{int(score * 100) / 100:.2f}"
    _, out, _ = run(WIDE, f"red circle > {above}", "--box-threshold", "0.1")
    assert (
        f'Just below the box threshold {float(above):.4g}: "red circle" {below}. '
        f'"red circle > {below}" shows it.' in out
    )
    _, out, _ = run(WIDE, f"red circle > {below}", "--box-threshold", "1")
    assert "Just below" not in out
    assert "red circle" in out
    code, _, err = run(WIDE, "red circle > 2")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith('In "red circle > 2", a box threshold from 0 to 1 must follow ">"')


@pytest.mark.parametrize(("option", "variable"), [(["--stretch"], ""), ([], "true")])
def test_deep_images_are_stretched_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, labeler: Labeler, option: list[str], variable: str
) -> None:
    asked: list[object] = []

    def load(*_names: str, **options: object) -> Shared:
        asked.append(options["stretch"])
        return Shared(labeler)

    monkeypatch.setattr(label, "Labeler", load)
    monkeypatch.setenv("STRETCH", variable)
    assert label.main([WIDE, "star", *option, *DEMO]) == 0
    assert asked == [True]


def test_tiles_find_what_is_small_in_a_large_image(run: Run, tmp_path: Path) -> None:
    pixels, things = draw_small_things(np.random.default_rng(3), (1200, 900), 6, (24, 50))
    Image.fromarray(pixels).save(tmp_path / "large.png")
    asked = [str(tmp_path / "large.png"), PROMPT, "--json", "--no-masks"]
    code, whole, _ = run(*asked)
    assert code == 0
    code, tiled, _ = run(*asked, "--tiles", "240")
    assert code == 0
    assert len(json.loads(whole)["objects"]) < len(things)
    assert len(json.loads(tiled)["objects"]) == len(things)


def test_a_phrase_of_which_only_a_word_fits_is_explained(run: Run) -> None:
    code, out, _ = run(WIDE, "red circle", "--text-threshold", "1")
    assert code == 0
    assert 'Nothing for "red circle": a word of it scores 0.' in out
    assert "text threshold 1, or another phrase fits better." in out


def test_json_is_a_line_for_each_image_with_masks_as_coco_has_them(run: Run) -> None:
    tall = str(SAMPLES / "tall.jpg")
    code, out, _ = run(WIDE, tall, "star", "--labels", "Star,Ring", "--json")
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert (first["image"], second["image"]) == (WIDE, tall)
    assert first["size_hw"] == [480, 640]
    assert first["drawing"] is None
    for one in (*first["objects"], *second["objects"]):
        assert (one["label"], one["phrase"]) == ("Star", "star")
        assert rle.area(one["segmentation"]) == one["area"] > 1000
    assert set(first["best_scores"]) == {"star"}


def test_no_masks_loads_no_segmenter(run: Run, loaded: list[tuple[Any, ...]]) -> None:
    run(WIDE, "star", "--no-masks")
    run(WIDE, "star")
    assert loaded == [("demo", "none"), ("demo", "demo")]


def test_a_folder_is_drawn_into_a_folder_and_the_models_load_once(
    run: Run, loaded: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    photos, seen = tmp_path / "photos", tmp_path / "photos" / "seen"
    (photos / "more").mkdir(parents=True)
    shutil.copy(WIDE, photos / "a.jpg")
    shutil.copy(WIDE, photos / "more" / "a.jpg")
    Image.open(WIDE).save(photos / "a.bmp")
    (photos / "notes.txt").write_text("no image")
    expected = {seen / "a.png", seen / "a.jpg.png", seen / "more" / "a.png"}
    for _ in range(2):  # the second time, what was drawn lies in the folder of images
        code, out, _ = run(str(photos), "star", "-o", str(seen))
        assert code == 0
        assert out.count("Drawn in") == 3
        assert {path for path in seen.rglob("*") if path.is_file()} == expected
    assert len(loaded) == 2


def test_an_unreadable_image_is_one_sentence_and_the_rest_goes_on(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    code, out, err = run(str(broken), str(tmp_path / "missing.jpg"), WIDE, "star", "--json")
    assert code == 2
    first, second, third = map(json.loads, out.splitlines())
    assert first["error"].startswith(f"{broken}: The file is not an image")
    assert (
        second["error"] == f"{tmp_path / 'missing.jpg'} cannot be read: No such file or directory."
    )
    assert third["objects"]
    assert err == ""
    code, out, err = run(str(broken), "star")
    assert (code, out) == (1, "")
    assert err.startswith(f"{broken}: The file is not an image")
    assert err.count("\n") == 1


def test_any_name_of_a_file_can_be_printed(run: Run, tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"caf\xe9\n.jpg")
    shutil.copy(WIDE, strange)
    code, out, _ = run(str(strange), "star")
    assert code == 0
    assert "caf\\xe9\\u000a.jpg  640 x 480" in out
    code, out, _ = run(str(strange), "star", "--json")
    assert json.loads(out)["image"] == str(strange)
    strange.write_bytes(b"no image")
    code, _, err = run(str(strange), "star")
    assert code == 1
    assert err.count("\n") == 1


def test_labels_may_stand_for_the_prompt(run: Run) -> None:
    code, out, _ = run(WIDE, "--labels", "Star, Ring", "--json")
    assert code == 0
    assert {one["label"] for one in json.loads(out)["objects"]} == {"Star", "Ring"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([WIDE, "star", "-o", WIDE], "is one of the images: write the drawing elsewhere."),
        ([WIDE, "star", "-o", "seen.gif"], "seen.gif must end in .png or .jpg, or be a folder"),
        (
            [WIDE, WIDE, "star", "-o", "seen.png"],
            "is one file, but the images are several",
        ),
        ([str(SAMPLES), "star", "-o", "seen.png"], "seen.png is one file, but the images are"),
        ([WIDE, "star", "-o", "/proc/seen.png"], "Nothing can be written to /proc: "),
        ([WIDE, "star", "-o", f"{WIDE}/seen.png"], "Nothing can be written to "),
        ([WIDE, " . "], "There is nothing to look for"),
        (["{empty}", "star"], "is no folder with"),
    ],
)
def test_what_is_wrong_is_said_before_the_models_load(
    run: Run,
    loaded: list[tuple[Any, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*(part.format(empty=tmp_path) for part in arguments))
    assert (code, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert loaded == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required"),
        (["star"], "name the images, then what to look for"),
        ([WIDE], "name the images, then what to look for"),
        ([WIDE, WIDE], "name the images, then what to look for"),
        ([WIDE, "star", "--box-threshold", "7"], "must be a number from 0 to 1, as 0.3, not 7"),
        (
            [WIDE, "star", "--text-threshold", "0,3"],
            "number from 0 to 1, as 0.3, not 0,3",
        ),
        ([WIDE, "star", "--detector", "yolo"], "must be one of groundingdino-swint-ogc"),
    ],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        label.main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_missing_weights_name_the_command_that_fetches_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label.main([WIDE, "star", "--model-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "groundingdino_swint_ogc.pth" in err
    assert "mobile_sam.pt" in err
    command = "weights --detector groundingdino-swint-ogc --segmenter mobile-sam"
    assert f"`grounded-labeler {command} --model-dir {tmp_path}`" in err
    assert err.count("\n") == 1


def test_the_environment_chooses_where_no_option_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"DETECTOR": "demo", "SEGMENTER": "demo", "BOX_THRESHOLD": "0.99"}.items():
        monkeypatch.setenv(name, value)
    assert label.main([WIDE, "red circle", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["objects"] == []
    assert 0.5 < found["best_scores"]["red circle"] < 0.99
