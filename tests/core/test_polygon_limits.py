"""Polygons that a config limits: `tolerance` in pixels, `max_points`, and what is left out."""

import heapq
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounded_labeler.core import thinning
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.polygons import LeftOut, Polygons, to_polygons, trace
from grounded_labeler.core.thinning import Outline, has_crossing, thin
from tests.core.test_polygons import (
    Pixels,
    area,
    blank,
    disc,
    fill_with_opencv,
    iou,
    racket,
    ring,
    star,
)


def of(mask: Pixels, tolerance: float | None = None, max_points: int | None = None) -> Polygons:
    return trace(Mask.from_full(mask), tolerance, max_points)


def blobs_with_specks(seed: int, size: int = 160) -> Pixels:
    """Round parts with holes in them, and specks and pinholes strewn over both."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), rng.uniform(4, 20))
    mask = np.asarray(noise > noise.std() * rng.uniform(-0.8, 0.8))
    for _ in range(int(rng.integers(0, 20))):
        x, y, side = rng.integers(0, size - 4), rng.integers(0, size - 4), rng.integers(1, 5)
        mask[y : y + side, x : x + side] ^= True
    return mask


seeds = st.integers(0, 10_000)


@settings(max_examples=60)
@given(seeds)
def test_what_is_left_out_is_counted_and_never_more_than_two_percent(seed: int) -> None:
    mask = blobs_with_specks(seed)
    made = of(mask, tolerance=0)  # then outlines are exact, and what they lack is left out
    filled = fill_with_opencv(list(made.outlines), mask.shape)
    assert made.left_out.of_pixels == mask.sum()
    # A speck inside a small hole is filled with it, and counted with both.
    assert 0.9 * made.left_out.pixels - 1 <= (filled ^ mask).sum() <= made.left_out.pixels + 1
    assert made.left_out.share <= 0.02
    assert (made.left_out.parts + made.left_out.holes > 0) == (made.left_out.pixels > 0)


@settings(max_examples=60)
@given(seeds, st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_no_point_of_an_outline_is_further_away_than_the_tolerance(
    seed: int, tolerance: float
) -> None:
    mask = blobs_with_specks(seed)
    made, exact = of(mask, tolerance), of(mask, tolerance=0)
    assert len(made.outlines) == len(exact.outlines)
    for outline, edges in zip(made.outlines, exact.outlines, strict=True):
        line = outline.astype(np.float32)
        away = [abs(cv2.pointPolygonTest(line, (x, y), measureDist=True)) for x, y in edges]
        # OpenCV leaves out more points once it is done, which moves a line by a little more.
        assert max(away) <= 1.5 * tolerance


@settings(max_examples=60)
@given(seeds, st.integers(3, 60))
def test_no_outline_has_more_points_than_it_may(seed: int, max_points: int) -> None:
    mask = blobs_with_specks(seed)
    made, free = of(mask, max_points=max_points), of(mask)
    assert made.left_out == free.left_out
    assert len(made.outlines) == len(free.outlines)
    for outline, exact in zip(made.outlines, of(mask, tolerance=0).outlines, strict=True):
        holes = holes_in(exact, mask.shape)
        on_top = 5 * holes if 3 + 5 * holes > max_points else 0
        assert 3 <= len(outline) <= max_points + on_top
        assert (outline >= 0).all()
        assert (outline <= mask.shape[::-1]).all()


def holes_in(outline: Outline, size: tuple[int, int]) -> int:
    filled = np.pad(fill_with_opencv([outline], size).astype(np.uint8), 1)
    _, hierarchy = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return int((np.asarray(hierarchy).reshape(-1, 4)[:, 3] >= 0).sum())


@settings(max_examples=40)
@given(seeds)
def test_with_forty_points_an_outline_is_still_the_object(seed: int) -> None:
    """One blob, of what outlines of objects look like."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radii = np.full(400, 60.0)
    for k in range(2, 9):
        radii += rng.normal(0, 14 / k) * np.cos(k * angles + rng.uniform(0, 7))
    points = 100 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    canvas = np.zeros((200, 200), np.uint8)
    mask = np.asarray(cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1) > 0)
    for max_points, least in ((40, 0.95), (20, 0.9), (12, 0.8)):
        outlines = list(of(mask, max_points=max_points).outlines)
        assert iou(fill_with_opencv(outlines, mask.shape), mask) >= least
        assert area(outlines[:1]) / area(to_polygons(Mask.from_full(mask))[:1]) == pytest.approx(
            1, abs=1 - least
        )
        assert not has_crossing(outlines)


@settings(max_examples=100)
@given(seeds, st.integers(3, 40))
def test_thinning_makes_no_edges_cross(seed: int, most: int) -> None:
    """A ragged ring with a ragged hole: a comb's teeth are what Douglas and Peucker cross."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 120))
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outer = 100 + along * rng.uniform(45, 100, (120, 1))
    inner = 100 + along[::-2] * rng.uniform(10, 40, (60, 1))
    if has_crossing([outer, inner]):
        return  # two angles lay far apart, and an edge cut through the middle
    thinned = thin([outer, inner], most)
    assert sum(map(len, thinned)) == max(most, 6)
    assert min(map(len, thinned)) >= 3
    if most >= 12:
        assert not has_crossing(thinned)


def test_a_disc_of_few_points_is_a_regular_polygon() -> None:
    (outline,) = of(disc(200, (100, 100), 90), max_points=8).outlines
    assert len(outline) == 8
    assert iou(fill_with_opencv([outline], (200, 200)), disc(200, (100, 100), 90)) >= 0.85


def test_a_star_keeps_its_ten_corners() -> None:
    mask = star(400)
    (outline,) = of(mask, max_points=10).outlines
    assert len(outline) == 10
    assert iou(fill_with_opencv([outline], mask.shape), mask) >= 0.97


def test_the_points_of_a_hole_count() -> None:
    mask = ring(200, 90, 60)
    (outline,) = of(mask, max_points=30).outlines
    assert len(outline) == 30
    assert iou(fill_with_opencv([outline], mask.shape), mask) >= 0.9


def test_holes_that_are_no_specks_stay_however_few_points_there_may_be() -> None:
    """A racket that was filled would be 1.9 times as large."""
    mask = racket()
    free, made = of(mask), of(mask, max_points=40)
    assert made.left_out == free.left_out
    assert made.left_out.share <= 0.02
    (outline,) = made.outlines
    holes = holes_in(free.outlines[0], (mask.shape[0], mask.shape[1]))
    assert len(outline) == 40 + 5 * holes
    assert area([outline]) / mask.sum() < 1.5
    # What is around the holes is still a racket, not a triangle in it.
    assert iou(fill_with_opencv([outline], mask.shape), mask) > 0.6


def test_an_exact_outline_and_a_coarse_one() -> None:
    mask = disc(200, (100, 100), 90)
    (exact,) = of(mask, tolerance=0).outlines
    np.testing.assert_array_equal(fill_with_opencv([exact], mask.shape), mask)
    points = [len(of(mask, tolerance).outlines[0]) for tolerance in (0, 0.5, 1, 2, 4)]
    assert points == sorted(points, reverse=True)
    assert points[0] > 100
    assert points[-1] <= 16


def test_thin_parts_stay_whole_at_any_tolerance() -> None:
    mask = blank((10, 10, 90, 14))
    made = of(mask, tolerance=50)
    np.testing.assert_array_equal(fill_with_opencv(list(made.outlines), mask.shape), mask)


def test_what_is_left_out_of_nothing() -> None:
    made = of(np.zeros((5, 7), np.bool_))
    assert made.outlines == ()
    assert made.left_out == LeftOut()
    assert made.left_out.share == 0


def test_specks_and_pinholes_are_counted() -> None:
    mask = blank((0, 0, 80, 80), (90, 90, 93, 93), (90, 10, 92, 12))
    mask[40:43, 40:43] = False
    left_out = of(mask).left_out
    assert (left_out.parts, left_out.holes, left_out.pixels) == (2, 1, 9 + 4 + 9)
    assert left_out.share == pytest.approx(22 / mask.sum())


def test_a_corner_that_waited_and_then_went_comes_to_no_order_of_corners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    areas: list[float] = []

    def push(heap: list[tuple[float, int]], item: tuple[float, int]) -> None:
        areas.append(item[0])
        heapq.heappush(heap, item)

    monkeypatch.setattr(thinning, "heapq", SimpleNamespace(**vars(heapq) | {"heappush": push}))
    noise = np.random.default_rng(0).random((128, 128)).astype(np.float32)
    to_polygons(Mask.from_full(cv2.GaussianBlur(noise, (0, 0), 2) > 0.5), max_points=12)
    assert areas
    assert not np.isnan(areas).any()  # nothing is smaller than it, nor larger
