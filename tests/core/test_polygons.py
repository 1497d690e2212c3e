import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.polygons import to_polygons
from grounded_labeler.core.thinning import Outline
from tests.conftest import DATA

Pixels = NDArray[np.bool_]  # (H, W)

CASES = DATA / "cases"
small_masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def disc(size: int, centre: tuple[float, float], radius: float) -> Pixels:
    y, x = np.mgrid[:size, :size] + 0.5
    return np.asarray(np.hypot(x - centre[0], y - centre[1]) <= radius)


def ring(size: int, outer: float, inner: float) -> Pixels:
    middle = (size / 2, size / 2)
    return disc(size, middle, outer) & ~disc(size, middle, inner)


def star(size: int) -> Pixels:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 0.2, 0.48) * size
    points = size / 2 + np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)
    canvas = np.zeros((size, size), np.uint8)
    return np.asarray(cv2.fillPoly(canvas, [points.astype(np.int32)], 1) > 0)


def blank(*filled: tuple[int, int, int, int], size: int = 100) -> Pixels:
    """A mask with these boxes (x1, y1, x2, y2) filled."""
    mask = np.zeros((size, size), np.bool_)
    for x1, y1, x2, y2 in filled:
        mask[y1:y2, x1:x2] = True
    return mask


def wall_with_windows() -> Pixels:
    mask = blank((5, 5, 95, 95))
    for y in range(10, 90, 20):
        for x in range(10, 90, 20):
            mask[y : y + 12, x : x + 12] = False
    return mask


def net(degrees: float, hole: int, line: int, *, round_holes: bool = False) -> Pixels:
    """A disc with square or round holes, `hole` pixels across, `line` pixels between them."""
    y, x = np.mgrid[:600, :600] - 299.5
    turn = np.deg2rad(degrees)
    along = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    u, v = (distance % (hole + line) - (hole + line) / 2 for distance in along)
    is_hole = np.hypot(u, v) < hole / 2 if round_holes else np.maximum(abs(u), abs(v)) < hole / 2
    return np.asarray((np.hypot(x, y) < 270) & ~is_hole)


def racket() -> Pixels:
    mask = cv2.imread(str(CASES / "racket.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return np.asarray(mask > 127)


def blobs() -> Pixels:
    noise = np.random.default_rng(0).normal(size=(200, 200))
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 8) > 0)


def windings(outline: Outline, shape: tuple[int, int]) -> NDArray[np.int_]:
    """How many times the outline goes round each pixel's centre; even-odd is its parity."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    turns = np.zeros(shape, np.int_)
    for (x1, y1), (x2, y2) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y1 != y2:
            first, end = (max(0, int(np.ceil(edge - 0.5))) for edge in sorted((y1, y2)))
            rows = slice(first, end)  # those it crosses
            right = x1 + (y[rows] - y1) * (x2 - x1) / (y2 - y1) > x[rows]
            turns[rows] += np.where(right, 1 if y2 > y1 else -1, 0)
    return turns


def fill(outlines: list[Outline], shape: tuple[int, int], rule: str) -> Pixels:
    filled = np.zeros(shape, np.bool_)
    for outline in outlines:
        turns = windings(outline, shape)
        filled |= turns % 2 == 1 if rule == "even-odd" else turns != 0
    return filled


def fill_with_opencv(outlines: list[Outline], shape: tuple[int, int]) -> Pixels:
    """fillPoly also paints the line itself, a pixel wide: it is made thin by a larger scale."""
    large = np.zeros((shape[0] * 8, shape[1] * 8), np.float32)
    for outline in outlines:
        cv2.fillPoly(large, [np.rint(outline * 8).astype(np.int32)], 1)
    return np.asarray(cv2.resize(large, shape[::-1], interpolation=cv2.INTER_AREA) > 0.5)


def iou(a: Pixels, b: Pixels) -> float:
    return float((a & b).sum() / (a | b).sum())


def bounds(outlines: list[Outline]) -> list[float]:
    points = np.concatenate(outlines)
    return [*points.min(axis=0), *points.max(axis=0)]


SHAPES = [
    pytest.param(disc(100, (50, 50), 3), 1, id="disc of 6 pixels"),
    pytest.param(disc(100, (50, 50), 12), 1, id="disc of 24 pixels"),
    pytest.param(disc(200, (100, 100), 90), 1, id="disc of 180 pixels"),
    pytest.param(ring(100, 8, 4), 1, id="small ring"),
    pytest.param(ring(200, 90, 60), 1, id="ring"),
    pytest.param(ring(200, 60, 59), 1, id="hair-thin ring"),
    pytest.param(
        disc(200, (100, 100), 60) & ~disc(200, (130, 100), 29), 1, id="hole a pixel from the edge"
    ),
    pytest.param(star(200), 1, id="star"),
    pytest.param(blank((10, 10, 30, 80), (10, 60, 90, 80)), 1, id="letter L"),
    pytest.param(disc(200, (50, 50), 30) | disc(200, (150, 150), 12), 2, id="two parts"),
    pytest.param(
        ring(200, 90, 60) | disc(200, (100, 100), 30), 2, id="a part in the hole of another"
    ),
    pytest.param(wall_with_windows(), 1, id="sixteen holes"),
    pytest.param(np.eye(60, dtype=np.bool_), 1, id="slanting line one pixel wide"),
    pytest.param(blobs(), 4, id="blobs up to the image's edge"),
]


@pytest.mark.parametrize(("mask", "parts"), SHAPES)
def test_polygons_cover_the_mask(mask: Pixels, parts: int) -> None:
    outlines = to_polygons(Mask.from_full(mask))
    assert len(outlines) == parts
    assert iou(fill(outlines, mask.shape, "even-odd"), mask) >= 0.97
    assert iou(fill(outlines, mask.shape, "non-zero"), mask) >= 0.97
    assert iou(fill_with_opencv(outlines, mask.shape), mask) >= 0.95


def area(outlines: list[Outline]) -> float:
    """As exporters compute it: a hole, walked the other way round, is taken off."""
    return sum(
        abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2
        for x, y in (outline.T for outline in outlines)
    )


NETS = [
    pytest.param(racket(), id="racket"),
    *(
        pytest.param(net(degrees, hole, line, round_holes=is_round), id=f"{shape}{degrees}-{hole}")
        for is_round, shape in ((False, "square"), (True, "round"))
        for degrees in (0, 20, 45)
        for hole, line in ((60, 20), (28, 12), (6, 6))
    ),
]


@pytest.mark.parametrize("mask", NETS)
def test_holes_that_are_small_but_many_stay_open(mask: Pixels) -> None:
    outlines = to_polygons(Mask.from_full(mask))
    assert area(outlines) / mask.sum() == pytest.approx(1, abs=0.03)
    filled = fill_with_opencv(outlines, mask.shape)
    assert iou(filled, mask) >= 0.96
    assert filled.sum() / mask.sum() == pytest.approx(1, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["even-odd", "non-zero"])
def test_the_racket_is_a_racket_by_either_rule(rule: str) -> None:
    mask = racket()
    outlines = to_polygons(Mask.from_full(mask))
    assert iou(fill(outlines, mask.shape, rule), mask) >= 0.97
    assert sum(map(len, outlines)) < 7 * 360, "for each of 360 holes four points and a cut"


@pytest.mark.parametrize(
    ("dots", "kept"),
    [
        pytest.param(5, 1, id="five are left out: 0.9 %"),
        pytest.param(50, 46, id="of fifty all but five are kept"),
    ],
)
def test_specks_are_left_out_while_they_add_up_to_little(dots: int, kept: int) -> None:
    mask = blank((0, 0, 70, 70))
    for number in range(dots):
        x, y = 72 + 5 * (number % 5), 2 + 5 * (number // 5)
        mask[y : y + 3, x : x + 3] = True
    outlines = to_polygons(Mask.from_full(mask))
    assert len(outlines) == kept
    assert area(outlines) / mask.sum() == pytest.approx(1, abs=0.01)


def test_holes_in_a_row_of_hundreds_make_one_outline() -> None:
    """Each hangs from the one before: no depth of recursion may depend on how many there are."""
    mask = np.ones((12, 12_000), np.bool_)
    mask[3:9, 3::6] = False
    mask[3:9, 4::6] = False
    (outline,) = to_polygons(Mask.from_full(mask))
    assert area([outline]) / mask.sum() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((20, 30, 30, 40), id="square"),
        pytest.param((20, 30, 21, 31), id="one pixel"),
        pytest.param((20, 30, 21, 90), id="one pixel wide"),
        pytest.param((0, 0, 100, 100), id="the whole image"),
        pytest.param((99, 99, 100, 100), id="the last pixel"),
    ],
)
def test_a_rectangle_keeps_its_four_corners(box: tuple[int, int, int, int]) -> None:
    (outline,) = to_polygons(Mask.from_full(blank(box)))
    x1, y1, x2, y2 = box
    assert sorted(outline.tolist()) == sorted([[x1, y1], [x1, y2], [x2, y1], [x2, y2]])


def test_the_ring_is_one_outline_with_a_cut_there_and_back() -> None:
    mask = blank((10, 10, 90, 90)) & ~blank((40, 40, 60, 60))
    (outline,) = to_polygons(Mask.from_full(mask))
    sides = [tuple(map(tuple, side)) for side in np.stack([outline, np.roll(outline, -1, 0)], 1)]
    cuts = [side for side in sides if side[::-1] in sides]
    assert len(cuts) == 2
    np.testing.assert_array_equal(fill([outline], mask.shape, "non-zero"), mask)


def test_nothing_has_no_outline() -> None:
    assert to_polygons(Mask.from_full(np.zeros((5, 7), np.bool_))) == []


@pytest.mark.parametrize("slack", [0, 1, 40])
def test_outlines_do_not_depend_on_the_crop_and_move_with_it(slack: int) -> None:
    crop = np.pad(star(100) ^ disc(100, (30, 60), 12), slack)
    there = Mask(crop, 200 - slack, 70 - slack, (300, 400))
    here = Mask.from_full(star(100) ^ disc(100, (30, 60), 12))
    for moved, outline in zip(to_polygons(there), to_polygons(here), strict=True):
        np.testing.assert_array_equal(moved, outline + np.array([200, 70]))


def test_the_largest_part_comes_first() -> None:
    mask = blank((0, 0, 10, 10), (20, 20, 60, 60), (70, 70, 90, 90))
    assert [bounds([outline])[0] for outline in to_polygons(Mask.from_full(mask))] == [20, 70, 0]


@pytest.mark.parametrize(
    ("mask", "parts"),
    [
        pytest.param(blank((0, 0, 50, 50), (60, 60, 64, 63)), 1, id="12 pixels beside 2,500"),
        pytest.param(blank((0, 0, 50, 50), (60, 60, 64, 64)), 2, id="16 pixels beside 2,500"),
        pytest.param(blank((0, 0, 90, 90), (95, 60, 100, 67)), 1, id="35 pixels beside 8,100"),
        pytest.param(blank((5, 5, 7, 7)), 1, id="4 pixels and nothing else"),
    ],
)
def test_specks_beside_larger_parts_are_left_out(mask: Pixels, parts: int) -> None:
    assert len(to_polygons(Mask.from_full(mask))) == parts


def test_holes_that_are_specks_are_filled() -> None:
    square = blank((10, 10, 90, 90))
    (outline,) = to_polygons(Mask.from_full(square & ~blank((50, 50, 54, 54))))
    np.testing.assert_array_equal(fill([outline], square.shape, "non-zero"), square)


def test_a_slit_one_pixel_wide_stays_open() -> None:
    mask = blank((5, 5, 95, 95)) & ~blank((50, 10, 51, 90))
    (outline,) = to_polygons(Mask.from_full(mask))
    np.testing.assert_array_equal(fill([outline], mask.shape, "non-zero"), mask)


def test_outlines_are_simple() -> None:
    (outline,) = to_polygons(Mask.from_full(star(400)))
    assert len(outline) <= 20


def test_a_higher_tolerance_leaves_fewer_points() -> None:
    mask = disc(400, (200, 200), 190)
    (fine,), (coarse,) = (
        to_polygons(Mask.from_full(mask)),
        to_polygons(Mask.from_full(mask), tolerance=5),
    )
    assert len(coarse) < len(fine)
    assert iou(fill([coarse], mask.shape, "even-odd"), mask) >= 0.95


@settings(max_examples=200)
@given(small_masks)
def test_outlines_of_any_mask_are_polygons_inside_the_image(mask: Pixels) -> None:
    outlines = to_polygons(Mask.from_full(mask))
    assert bool(outlines) == mask.any()
    for outline in outlines:
        assert outline.shape[0] >= 3
        assert (outline >= 0).all()
        assert (outline <= mask.shape[::-1]).all()
        assert fill([outline], mask.shape, "non-zero").any()
    assert area(outlines) == pytest.approx(mask.sum(), rel=0.1)
