"""What is kept of masks is sent again as it was: nothing is unpacked, encoded or traced for it."""

import json
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pytest

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.polygons import LeftOut
from grounded_labeler.core.types import Detections, Mask, PackedMask
from grounded_labeler.label_studio import region_values
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.json_text import JsonText
from grounded_labeler.label_studio.kept_values import KeptValues
from grounded_labeler.label_studio.regions import encode_regions
from tests.helpers.asking import IMAGE, LABELS, view

SIZE_WH = (160, 90)
ROOM = 10**7


def tag(name: str, attributes: str = "") -> str:
    return f'<{name} name="shape" toName="image"{attributes}>{LABELS}</{name}>'


FORMS = {
    "brush": tag("BrushLabels"),
    "bitmask": tag("BitmaskLabels"),
    "polygon": tag("PolygonLabels"),
    "polygon of few points": tag("PolygonLabels", ' max_points="5"'),
    "vector": tag("VectorLabels", ' closable="true"'),
    "rotated box": tag("RectangleLabels", ' rotated="true"'),
    "box": tag("RectangleLabels"),
}
# How often the work is done for a mask that is new: nothing of a mask is needed for a box.
WORK = {name: 0 if name == "box" else 1 for name in FORMS}


def slanting(shift: int = 0) -> Mask:
    """A slanting bar with a hole and a speck."""
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    pixels = (abs(y - x / 2 - 10) < 9) & (x > 20 + shift) & (x < 120)
    pixels &= np.hypot(x - 60, y - 40) > 3
    pixels[80, 10] = True
    return Mask.from_full(pixels)


def stored(mask: Mask) -> Mask:
    """The mask as it comes from a cache."""
    return mask.packed().mask()


def found() -> Detections:
    box = np.array([[20, 10, 120, 80]], np.float32)
    return Detections(box, np.array([0.5], np.float32), ("star",), ("Star",))


def regions(form: str, mask: Mask, values_of: region_values.ValuesOf) -> tuple[Any, list[LeftOut]]:
    """The regions of a mask, read from JSON, without ids; and what they leave out."""
    [target] = read_label_config(view(IMAGE, FORMS[form])).images
    left_out: list[LeftOut] = []
    made = encode_regions(
        found(), [mask], target, SIZE_WH, "auto", left_out=left_out, values_of=values_of
    )
    for region in made:
        region.pop("id")
    text = json.dumps(made, default=lambda one: json.loads(one.text))
    return json.loads(text), left_out


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often masks are encoded, and how often one is unpacked."""
    counted: Counter[str] = Counter()

    def count(owner: object, name: str, as_what: str) -> None:
        own: Callable[..., Any] = getattr(owner, name)

        @wraps(own)
        def counting(*args: Any) -> Any:
            counted[as_what] += 1
            return own(*args)

        monkeypatch.setattr(owner, name, counting)

    for name in ("encode_rle", "bitmask_url", "trace", "box_to_draw"):
        count(region_values, name, "encoded")
    count(PackedMask, "pixels", "unpacked")
    return counted


@pytest.mark.parametrize("form", FORMS)
def test_kept_values_are_those_that_are_made_anew(form: str, work: Counter[str]) -> None:
    expected = regions(form, slanting(), region_values.region_values)
    work.clear()
    kept = KeptValues(ByteCache(ROOM))
    assert regions(form, stored(slanting()), kept) == expected
    assert work["encoded"] == WORK[form]
    work.clear()
    assert regions(form, stored(slanting()), kept) == expected
    assert not work, "nothing is encoded, and no mask unpacked"


def test_run_lengths_are_encoded_without_unpacking_a_mask(work: Counter[str]) -> None:
    regions("brush", stored(slanting()), KeptValues(ByteCache(ROOM)))
    assert work == {"encoded": 1}


def test_nothing_is_taken_for_another_mask_or_form() -> None:
    kept = KeptValues(ByteCache(ROOM))
    for mask in (slanting(), slanting(7)):
        for form in FORMS:
            expected = regions(form, mask, region_values.region_values)
            assert regions(form, stored(mask), kept) == expected


def test_a_mask_at_another_place_or_of_another_size_is_another() -> None:
    pixels = np.ones((4, 6), np.bool_)
    masks = [
        Mask(pixels, 3, 2, (90, 160)),
        Mask(pixels, 2, 3, (90, 160)),
        Mask(pixels, 3, 2, (90, 161)),
        Mask(pixels.reshape(6, 4), 3, 2, (90, 160)),
        Mask(pixels.reshape(3, 8), 3, 2, (90, 160)),
    ]
    assert len({mask.packed().key for mask in masks}) == len(masks)
    assert masks[0].packed().key == Mask(pixels.copy(), 3, 2, (90, 160)).packed().key


def test_a_mask_without_a_key_is_encoded_each_time(work: Counter[str]) -> None:
    # That of a click, of which there will not be the same again.
    cache = ByteCache(ROOM)
    for _ in range(2):
        regions("brush", slanting(), KeptValues(cache))
    assert work == {"encoded": 2}
    assert len(cache) == 0


@pytest.mark.parametrize("form", ["brush", "rotated box"])
def test_nothing_is_kept_of_a_mask_without_a_pixel(form: str) -> None:
    empty = Mask.from_full(np.zeros(SIZE_WH[::-1], np.bool_))
    cache = ByteCache(ROOM)
    expected = regions(form, empty, region_values.region_values)
    assert regions(form, stored(empty), KeptValues(cache)) == expected
    assert len(cache) == 0


def test_what_is_kept_counts_in_the_memory_of_the_cache(work: Counter[str]) -> None:
    mask = stored(slanting())
    [region], _ = regions("brush", mask, KeptValues(ByteCache(ROOM)))
    nbytes = len(json.dumps(region["value"]["rle"], separators=(",", ":")))
    for room, times in ((4 * nbytes, 1), (nbytes, 1), (nbytes - 1, 2)):
        work.clear()
        cache = ByteCache(room)
        for _ in range(2):
            regions("brush", mask, KeptValues(cache))
        assert work["encoded"] == times


def test_what_is_kept_takes_a_quarter_of_the_cache_at_most() -> None:
    masks = [stored(slanting(shift)) for shift in range(12)]
    [region], _ = regions("brush", masks[0], KeptValues(ByteCache(ROOM)))
    nbytes = len(json.dumps(region["value"]["rle"], separators=(",", ":")))
    cache = ByteCache(12 * nbytes)
    cache.put(("features", 0), "features", 8 * nbytes)
    for mask in masks:
        regions("brush", mask, KeptValues(cache))
    assert cache.get(("features", 0)) == "features"
    assert 1 < len(cache) <= 5


@pytest.mark.parametrize("data", [b"\0", b"\xff", bytes(range(256)), b"\0\1\0" * 1000])
def test_bytes_are_written_as_a_list_of_numbers(data: bytes) -> None:
    assert JsonText.of_bytes(data).text == json.dumps(list(data), separators=(",", ":"))


def test_no_bytes_are_an_empty_list() -> None:
    assert JsonText.of_bytes(b"").text == "[]"


def test_other_values_are_written_as_by_json() -> None:
    value = {"points": [[1.5, 2], [3, 4.25]], "name": 'ü"'}
    text = JsonText.of(value)
    assert json.loads(text.text) == value
    assert text.nbytes == len(text.text.encode())
