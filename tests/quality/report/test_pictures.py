"""What is drawn on the worst images: missed in one colour, wrong in another, right ones thin."""

import numpy as np

from grounded_labeler.quality.measure import measure
from grounded_labeler.quality.report.pictures import (
    MISSED,
    RIGHT,
    SIDE,
    WRONG,
    data_uri,
    draw_judged,
    judged_shapes,
)
from tests.quality.faked import scored_image, truth

BOX, OTHER, THIRD = (10.0, 40.0, 60.0, 90.0), (200.0, 40.0, 300.0, 90.0), (10.0, 200.0, 60.0, 300.0)


def test_each_object_is_drawn_in_the_colour_of_what_became_of_it() -> None:
    image = scored_image(
        [("car", BOX, 0.9), ("car", THIRD, 0.5)], truth([("car", BOX), ("car", OTHER)]), ["car"]
    )
    [judged] = measure([image], ["car"]).images
    shapes = judged_shapes(judged)
    assert [(one.name, one.color, one.is_thin) for one in shapes] == [
        ("", RIGHT, True),
        ("car", MISSED, False),
        ("car", WRONG, False),
    ]
    assert shapes[2].score == 0.5


def test_an_object_that_was_taken_for_another_label_is_told_once() -> None:
    image = scored_image([("dog", BOX, 0.9)], truth([("car", BOX)]), ["car", "dog"])
    [judged] = measure([image], ["car", "dog"]).images
    missed, wrong = judged_shapes(judged)
    assert (missed.name, wrong.name) == ("", "dog for car")
    assert missed.box is not None
    assert wrong.box is not None
    assert missed.box[0] < wrong.box[0], "both boxes can be seen"


def test_a_picture_has_the_side_and_colours_that_are_told() -> None:
    image = scored_image([], truth([("car", (100.0, 100.0, 500.0, 400.0))]), ["car"])
    [judged] = measure([image], ["car"]).images
    drawn = draw_judged(np.full((480, 640, 3), 90, np.uint8), judged)
    assert max(drawn.size) == SIDE
    pixels = np.asarray(drawn)
    assert np.abs(pixels.astype(int) - np.array(MISSED)).sum(axis=2).min() < 60
    assert data_uri(drawn).startswith("data:image/jpeg;base64,")
