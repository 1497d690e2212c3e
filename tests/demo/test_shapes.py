"""The images everything is measured on: their truth must be true."""

import numpy as np
import pytest

from grounded_labeler.demo.shapes import COLORS, Shape, draw_image


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size_wh", [(320, 240), (240, 480), (160, 160)])
def test_boxes_masks_and_colors_agree_with_the_pixels(seed: int, size_wh: tuple[int, int]) -> None:
    image = draw_image(np.random.default_rng(seed), size_wh)
    width, height = size_wh
    assert image.image.shape == (height, width, 3)
    assert 1 <= len(image.shapes) <= 5
    for shape in image.shapes:
        ys, xs = np.nonzero(shape.mask)
        assert shape.box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        painted = image.image[shape.mask].mean(axis=0)
        distances = {name: np.abs(painted - color).sum() for name, color in COLORS.items()}
        assert min(distances, key=lambda name: distances[name]) == shape.color
    covered = np.stack([shape.mask for shape in image.shapes]).sum(axis=0)
    assert covered.max() == 1


def test_the_same_seed_gives_the_same_image() -> None:
    one, other = (draw_image(np.random.default_rng(5), (320, 240)) for _ in range(2))
    assert np.array_equal(one.image, other.image)


def test_a_ring_has_a_hole() -> None:
    images = (draw_image(np.random.default_rng(seed), (320, 240)) for seed in range(20))
    ring = next(s for image in images for s in image.shapes if s.kind == "ring")
    x0, y0, x1, y1 = ring.box
    assert not ring.mask[int((y0 + y1) / 2), int((x0 + x1) / 2)]


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("red circle", True),
        ("Red Circles", True),
        ("circle", True),
        ("red", True),
        ("shape", True),
        ("red square", False),
        ("blue circle", False),
        ("cat", False),
        ("", False),
    ],
)
def test_which_phrases_name_a_shape(phrase: str, expected: bool) -> None:
    shape = Shape("red", "circle", np.zeros(4, np.float32), np.zeros((1, 1), np.bool_))
    assert shape.matches(phrase) == expected
