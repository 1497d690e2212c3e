import math
import re
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.postprocess import Fate, explain
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.tiling import Tiling
from grounded_labeler.core.time_limit import NO_LIMIT, TimeLimit
from grounded_labeler.core.types import Candidates, DecodedImage, Detections, Thresholds, TileCount
from grounded_labeler.demo.small_things import PROMPT, draw_small_things
from grounded_labeler.labeler import Labeler
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.tiling import CachingDetector, TiledDetector, look_inside
from tests.helpers.clocks import FakeClock

LONGEST = 1000  # pixels that the detector below sees
SEEN = 8  # an object must be so large as it sees it
LIMITS = Thresholds(box=0.3, text=0.2, nms=0.7, max_regions=300)

Object = tuple[int, float, float, float, float]  # the phrase's number, and xyxy


class Seeing:
    """Finds the objects of a world in each view as a detector does: what is too small, or shows
    less than a third of itself, it does not find; of what is cut it finds the part.
    """

    device = "cpu"
    batch_size = 4
    longest = LONGEST

    def __init__(
        self, *objects: Object, clock: FakeClock | None = None, is_coarse: bool = False
    ) -> None:
        self.objects, self.clock, self.is_coarse = objects, clock, is_coarse
        self.batches: list[list[str]] = []

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        return np.zeros((len(images), 2), np.float32)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        self.batches.append([image.key for image in images])
        if self.clock is not None:
            self.clock.pass_by(10.0)
        return [self._see(one, len(texts)) for one, texts in zip(images, phrases, strict=True)]

    def release(self) -> None:
        pass

    def _see(self, image: DecodedImage, phrases: int) -> Candidates:
        height, width = image.pixels.shape[:2]
        cut = re.fullmatch(r".*\[(\d+),(\d+),(\d+),(\d+)\]", image.key)
        x0, y0 = (int(cut[1]), int(cut[2])) if cut else (0, 0)
        scale = min(1.0, LONGEST / max(width, height))
        boxes, rows = [], []
        for number, *xyxy in self.objects:
            whole = np.array(xyxy) - [x0, y0, x0, y0]
            part = whole.clip(0, [width, height, width, height])
            sides, own = part[2:] - part[:2], whole[2:] - whole[:2]
            if (sides * scale >= SEEN).all() and sides.prod() >= own.prod() / 3:
                score = np.zeros(phrases, np.float32)
                # What is larger as the detector sees it scores higher.
                score[number] = 0.5 + 0.4 * min(1.0, sides.min() * scale / 200)
                boxes.append(part + 0.3 * np.sin([x0, y0, x0 + 1, y0 + 1]))
                rows.append(score)
        scores = np.array(rows, np.float32).reshape(-1, phrases)
        return Candidates(
            np.array(boxes, np.float32).reshape(-1, 4),
            scores,
            scores,
            np.zeros(len(boxes), np.intp),
            is_coarse=self.is_coarse,
            presence=np.array([0.1 if cut is None else 0.9] * phrases, np.float32),
        )


def blank(width: int, height: int, key: str = "image") -> DecodedImage:
    # One pixel of memory, whatever the size.
    return DecodedImage(np.broadcast_to(np.zeros(3, np.uint8), (height, width, 3)), key)


def found(
    detector: Seeing, image: DecodedImage, tiling: Tiling | None, text: str = "a . b"
) -> Detections:
    request = InferenceRequest(
        image, parse_prompt(text, ()), (), LIMITS, with_masks=False, tiling=tiling
    )
    return Pipeline(detector, None).run([request])[0].detections


@given(
    size=st.tuples(st.integers(1100, 7000), st.integers(300, 7000)),
    side=st.one_of(st.none(), st.integers(400, 1500)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    extent=st.tuples(st.floats(12, 3000), st.floats(12, 3000)),
)
def test_an_object_anywhere_is_found_once(
    size: tuple[int, int],
    side: int | None,
    place: tuple[float, float],
    extent: tuple[float, float],
) -> None:
    width, height = size
    tiling = Tiling(side)
    tiles = tiling.tiles(size, LONGEST)
    w, h = min(extent[0], width), min(extent[1], height)
    x, y = place[0] * (width - w), place[1] * (height - h)
    true = np.array([[x, y, x + w, y + h]], np.float32)
    in_whole = min(w, h) * min(1.0, LONGEST / max(size)) >= SEEN + 0.5
    tile_side = max((max(t[2] - t[0], t[3] - t[1]) for t in tiles), default=0)
    in_tile = max(w, h) <= 0.15 * tile_side and min(w, h) * min(1, LONGEST / max(tile_side, 1)) > 9
    boxes = found(Seeing((0, x, y, x + w, y + h)), blank(*size), tiling).boxes
    if in_whole or (tiles and in_tile):
        assert len(boxes) == 1
        assert box_iou(boxes, true)[0, 0] > 0.8
    else:  # too large for the overlap, and too small for the whole image: parts at most
        assert all(box[0] >= x - 1 and box[2] <= x + w + 1 for box in boxes)


def test_small_things_are_found_in_tiles_alone() -> None:
    seeing = Seeing((0, 2000, 1500, 2024, 1524), (1, 3900, 10, 3920, 30))
    assert len(found(seeing, blank(4000, 3000), None)) == 0
    seen = found(seeing, blank(4000, 3000), Tiling())
    assert sorted(seen.phrases) == ["a", "b"]


def test_a_person_inside_a_car_stays_and_a_part_of_the_car_does_not() -> None:
    car, person = (0, 700.0, 900.0, 1700.0, 1500.0), (1, 1150.0, 950.0, 1178.0, 980.0)
    seen = found(Seeing(car, person), blank(4000, 3000), Tiling(), "car . person")
    assert sorted(seen.phrases) == ["car", "person"]
    seen = found(Seeing(car, (0, *person[1:])), blank(4000, 3000), Tiling(), "car . person")
    assert seen.phrases == ("car",)


def test_the_texture_of_a_large_object_holds_no_others_that_the_whole_image_does_not_show() -> None:
    class Texture(Seeing):
        """Tiles show things inside the large object that the whole image does not."""

        def detect(
            self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
        ) -> list[Candidates]:
            whole = self.objects
            results = []
            for image, texts in zip(images, phrases, strict=True):
                self.objects = whole if image.key == "image" else (*whole, *self.only_in_tiles)
                results += super().detect([image], [texts])
            self.objects = whole
            return results

        only_in_tiles: tuple[Object, ...] = ()

    car = (0, 700.0, 900.0, 2300.0, 1900.0)
    seeing = Texture(car)
    wheel, small, beside = (1200.0, 1200.0), (1500.0, 1500.0), (3100.0, 1200.0)
    seeing.only_in_tiles = tuple(
        (1, x, y, x + side, y + side) for (x, y), side in ((wheel, 250), (small, 90), (beside, 250))
    )
    prompt = parse_prompt("car . person", ())
    request = InferenceRequest(
        blank(4000, 3000), prompt, (), LIMITS, with_masks=False, tiling=Tiling(), candidates_from=0
    )
    [result] = Pipeline(seeing, None).run([request])
    left = sorted(map(int, result.detections.boxes[:, 0].round(-2)))
    assert left == [700, 1500, 3100]
    assert result.candidates is not None
    verdicts = explain(
        result.candidates,
        prompt,
        request.phrase_labels,
        box_thresholds=request.box_thresholds,
        text_threshold=LIMITS.text,
        nms_threshold=LIMITS.nms,
        max_regions=LIMITS.max_regions,
        size_wh=(4000, 3000),
    )
    at = [i for i, box in enumerate(result.candidates.boxes) if abs(box[0] - 1200) < 5]
    fates = {verdicts[i].fate for i in at}
    assert Fate.PART in fates
    assert Fate.KEPT not in fates


def test_each_view_is_an_image_of_its_own_and_is_kept() -> None:
    seeing, image = Seeing((0, 10, 10, 60, 60)), blank(4000, 3000)
    detector = CachingDetector(seeing, ByteCache(10**7))
    [first] = TiledDetector(detector, Tiling()).detect([image], [["a"]])
    batches = list(seeing.batches)
    assert [len(batch) for batch in batches] == [1, 4, 4, 4, 4, 4]  # 20 tiles of 1,000 pixels
    assert batches[0] == ["image"]
    [again] = TiledDetector(detector, Tiling()).detect([image], [["a"]])
    assert seeing.batches == batches
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert again.views is not None
    assert again.views.tiles == TileCount(20, 20)
    assert again.presence is not None
    assert again.presence[0] == np.float32(0.9)
    assert len(again.views.subset(np.arange(1)).frames) == 1
    assert again.nbytes > again.views.nbytes > 0


def test_what_memory_made_coarse_is_not_kept() -> None:
    seeing = Seeing(is_coarse=True)
    detector = CachingDetector(seeing, ByteCache(10**7))
    for _ in range(2):
        [seen] = TiledDetector(detector, Tiling()).detect([blank(4000, 3000)], [["a"]])
        assert seen.is_coarse
    assert len(seeing.batches) == 12


def test_whole_images_come_first_and_tiles_as_time_allows() -> None:
    clock = FakeClock()
    seeing = Seeing((0, 10, 10, 34, 34), clock=clock)  # each batch takes 10 s
    images = [blank(4000, 3000), blank(800, 600, "small"), blank(4000, 3000, "other")]
    detector = TiledDetector(seeing, Tiling(), TimeLimit(35.0, clock))
    seen = detector.detect(images, [["a"]] * 3)
    # 35 s less 10 for the whole images, and 5 s are too little for a third batch of tiles.
    assert seeing.batches[0] == ["image", "small", "other"]
    assert [len(batch) for batch in seeing.batches[1:]] == [4, 4]
    tiles = [None if one.views is None else one.views.tiles for one in seen]
    assert tiles == [TileCount(8, 20), None, TileCount(0, 20)]
    assert [len(one) for one in seen] == [1, 1, 0]


def test_an_image_that_needs_no_tiles_is_answered_as_ever() -> None:
    seeing = Seeing((0, 10, 10, 60, 60))
    [seen] = TiledDetector(seeing, Tiling()).detect([blank(1500, 1200)], [["a"]])
    assert seen.views is None
    assert len(seeing.batches) == 1


def test_requests_that_look_differently_are_answered_in_order() -> None:
    seeing = Seeing((0, 2000, 1500, 2024, 1524), (1, 100, 100, 900, 900))
    prompt = parse_prompt("a . b", ())
    looks: list[dict[str, object]] = [
        {},
        {"tiling": Tiling()},
        {"inside": (1900, 1400, 2100, 1600)},
    ]
    requests = [
        InferenceRequest(blank(4000, 3000), prompt, (), LIMITS, with_masks=False, **look)  # type: ignore[arg-type]
        for look in [*looks, *looks]
    ]
    results = Pipeline(seeing, None).run(requests)
    phrases = [sorted(result.detections.phrases) for result in results]
    assert phrases == [["b"], ["a", "b"], ["a"]] * 2
    assert [result.tiles for result in results] == [None, TileCount(20, 20), None] * 2


def test_what_is_inside_a_rectangle_is_cut_off_at_it() -> None:
    seeing = Seeing((0, 100, 100, 300, 200), (1, 700, 700, 800, 800))
    seen = look_inside(seeing, blank(1000, 1000), (150, 50, 1000, 1000), ["a", "b"])
    np.testing.assert_allclose(seen.boxes[0], (150, 100, 300, 200), atol=0.5)
    np.testing.assert_allclose(seen.boxes[1], (700, 700, 800, 800), atol=0.5)
    assert seeing.batches == [["image[150,50,1000,1000]"]]


def test_who_has_gone_gets_no_more_tiles_and_the_others_get_all() -> None:
    gone = [False, True]
    limits = [TimeLimit(math.inf), TimeLimit(math.inf, is_over=lambda: gone.pop(0))]
    seeing, prompt = Seeing(), parse_prompt("a", ())
    requests = [
        InferenceRequest(
            blank(4000, 3000, f"image {i}"), prompt, (), LIMITS, with_masks=False,
            tiling=Tiling(), tile_limit=limits[i],
        )
        for i in range(2)
    ]  # fmt: skip
    results = Pipeline(seeing, None).run(requests)
    assert [result.tiles for result in results] == [TileCount(20, 20), TileCount(4, 20)]
    assert limits[1].__reduce__()[1] == (math.inf,)


def test_a_limit_is_what_is_left_on_the_way_to_another_machine() -> None:
    clock = FakeClock()
    limit = TimeLimit(100.0, clock)
    clock.pass_by(40.0)
    kind, arguments = limit.__reduce__()
    assert arguments == (60.0,)
    assert kind(*arguments).left() <= 60.0
    assert NO_LIMIT.left() == NO_LIMIT.__reduce__()[1][0] == np.inf


@pytest.mark.slow
def test_the_demo_finds_small_shapes_of_a_large_image_in_tiles() -> None:
    image, things = draw_small_things(np.random.default_rng(3), (1600, 1200), 12)
    true = np.stack([thing.box for thing in things])
    with Labeler("demo", "none") as labeler:
        whole = labeler.label(image, PROMPT)
        result = labeler.label(image, PROMPT, tiles=240)
    assert (box_iou(true, whole.boxes) >= 0.5).sum() <= 1
    overlap = box_iou(result.boxes, true)
    right = [
        things[int(row.argmax())].color == phrase and row.max() >= 0.5
        for row, phrase in zip(overlap, result.phrases, strict=True)
    ]
    assert sum(right) >= 0.95 * len(result)
    assert (overlap.max(axis=0) >= 0.5).sum() >= 0.9 * len(things)


class Noisy(Seeing):
    """Finds nothing, as detectors do: in hundreds of boxes, each with a score for each phrase."""

    def _see(self, image: DecodedImage, phrases: int) -> Candidates:
        scores = np.full((900, phrases), 0.01, np.float32)
        boxes = np.tile(np.array([0, 0, 50, 50], np.float32), (900, 1))
        return Candidates(boxes, scores, scores.copy(), np.zeros(900, np.intp))


def test_what_tiles_find_for_many_phrases_takes_no_memory_where_it_is_noise() -> None:
    detector = TiledDetector(Noisy(), Tiling(100))
    texts = [f"thing {number}" for number in range(100)]
    one = 2 * 900 * len(texts) * np.dtype(np.float32).itemsize
    tracemalloc.start()
    try:
        [seen] = detector.detect([blank(1200, 1200)], [texts])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen.views is not None
    assert seen.views.tiles.done == 225
    assert len(seen) == 900
    # A batch, what it was made of and the whole image, but never that of all tiles.
    assert peak < 20 * one
