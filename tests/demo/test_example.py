"""The example of docs/tuning.md: images with their truth, the same at every run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from grounded_labeler.demo.example import LABELS, draw_example, main


def test_it_is_written_as_coco_with_paths_below_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "example"), "--images", "3"]) == 0
    assert "3 images" in capsys.readouterr().out
    coco = COCO(tmp_path / "example" / "truth.json")
    assert [one["name"] for one in coco.cats.values()] == list(LABELS.values())
    assert [one["file_name"] for one in coco.imgs.values()] == ["0001.png", "0002.png", "0003.png"]
    for image in coco.imgs.values():
        example = draw_example(image["id"])
        pixels = np.asarray(Image.open(tmp_path / "example" / "images" / image["file_name"]))
        assert np.array_equal(pixels, example.pixels)
        labelled = [shape for shape in example.drawn.shapes if shape.kind in LABELS]
        own = coco.imgToAnns[image["id"]]
        assert len(own) == len(labelled)
        for one, shape in zip(own, labelled, strict=True):
            assert np.array_equal(coco.annToMask(one).astype(np.bool_), shape.mask)
            assert one["bbox"] == [*shape.box[:2], *(shape.box[2:] - shape.box[:2])]
            assert "score" not in one


def test_where_nothing_can_be_written_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("The example cannot be written: ")


def test_every_image_has_a_number_of_its_own() -> None:
    one, again, other = draw_example(1), draw_example(1), draw_example(2)
    assert np.array_equal(one.pixels, again.pixels)
    assert not np.array_equal(one.pixels, other.pixels)
