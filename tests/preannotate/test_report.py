"""The sheet of images to look at."""

import threading
from pathlib import Path

import numpy as np
from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.preannotate.report import write_sheet
from grounded_labeler.preannotate.results import TaskId
from tests.preannotate.outcomes import task_result

PATIENCE_S = 60.0  # the end of a hang, which fails


def grey(number: int) -> RGBImage:
    return np.full((100, 200, 3), 40 * number, np.uint8)


def test_images_are_loaded_side_by_side_and_stand_in_their_order(tmp_path: Path) -> None:
    # Each waits for another one, so that one after the other none would come.
    two = threading.Barrier(2)

    def load(task: TaskId) -> RGBImage:
        two.wait(PATIENCE_S)
        return grey(int(task))

    path = tmp_path / "sheet.jpg"
    write_sheet([(number, task_result("Star")) for number in range(6)], "image", load, path)
    with Image.open(path) as sheet:
        assert sheet.size == (1600, 800)
        corners = [sheet.getpixel((400 * (n % 4) + 180, 400 * (n // 4) + 90)) for n in range(6)]
    expected = [(40 * n, 40 * n, 40 * n) for n in range(6)]
    np.testing.assert_allclose(np.array(corners), expected, atol=4)


def test_the_place_of_an_image_that_is_gone_stays_white(tmp_path: Path) -> None:
    def load(task: TaskId) -> RGBImage:
        if task == 1:
            raise ImageError("The file is not there any more.")
        return grey(1)

    path = tmp_path / "sheet.jpg"
    write_sheet([(number, task_result("Star")) for number in range(3)], "image", load, path)
    with Image.open(path) as sheet:
        assert sheet.getpixel((580, 90)) == (255, 255, 255)
        assert sheet.getpixel((980, 90)) != (255, 255, 255)


def test_without_anything_to_show_there_is_no_sheet(tmp_path: Path) -> None:
    path = tmp_path / "sheet.jpg"
    path.write_bytes(b"that of an earlier run")
    write_sheet([], "image", lambda _: grey(0), path)
    assert not path.exists()
