import threading
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from grounded_labeler.cache import ByteCache


def bytes_kept() -> float:
    """What the gauge says, of the cache that was put into last."""
    return REGISTRY.get_sample_value("grounded_labeler_cache_bytes") or 0


def lookups(kind: str) -> dict[str, float]:
    name = "grounded_labeler_cache_lookups_total"
    return {
        outcome: REGISTRY.get_sample_value(name, {"kind": kind, "outcome": outcome}) or 0
        for outcome in ("hit", "miss")
    }


def numbers_kept(cache: ByteCache, numbers: range) -> list[int]:
    return [number for number in numbers if cache.get(("number", number)) is not None]


def test_what_was_not_asked_for_longest_goes_first() -> None:
    cache = ByteCache(30)
    for number in range(3):
        cache.put(("number", number), number, 10)
    assert cache.get(("number", 0)) == 0
    cache.put(("number", 3), 3, 10)
    assert numbers_kept(cache, range(4)) == [0, 2, 3]
    cache.put(("number", 2), 2, 10)
    cache.put(("number", 4), 4, 20)
    assert numbers_kept(cache, range(5)) == [2, 4], "being put again counts as being asked for"


def test_as_many_go_as_are_needed_for_the_new_one() -> None:
    cache = ByteCache(30)
    for number in range(3):
        cache.put(("number", number), number, 10)
    cache.put(("number", 3), 3, 11)
    assert numbers_kept(cache, range(4)) == [2, 3]
    assert bytes_kept() == 21


def test_what_alone_is_too_much_is_not_kept_and_drives_nothing_out() -> None:
    cache = ByteCache(30)
    cache.put(("number", 0), 0, 30)
    cache.put(("number", 1), 1, 31)
    assert numbers_kept(cache, range(2)) == [0]


def test_a_kind_with_a_share_leaves_the_rest_to_others() -> None:
    cache = ByteCache(100)
    for number in range(4):
        cache.put(("number", number), number, 10)
    for image in range(6):
        cache.put(("image", image), image, 20, share=0.5)
    assert numbers_kept(cache, range(4)) == [0, 1, 2, 3]
    assert [i for i in range(6) if cache.get(("image", i)) is not None] == [4, 5]
    assert bytes_kept() == 80
    cache.put(("image", 6), 6, 60, share=0.5)  # the newest is kept, however large
    assert cache.get(("image", 6)) == 6
    assert cache.get(("image", 5)) is None
    cache.put(("number", 4), 4, 30)
    assert numbers_kept(cache, range(5)) == [3, 4], "the least recently used go, of any kind"


@pytest.mark.parametrize("nbytes", [1, 10**12])
def test_a_cache_without_room_keeps_nothing(nbytes: int) -> None:
    cache = ByteCache(0)
    cache.put(("number", 0), 0, nbytes)
    assert cache.get(("number", 0)) is None
    assert len(cache) == 0


def test_a_value_put_again_takes_the_bytes_of_the_new_one_only() -> None:
    cache = ByteCache(30)
    for nbytes in (10, 30, 5):
        cache.put(("number", 0), nbytes, nbytes)
        assert cache.get(("number", 0)) == nbytes
        assert bytes_kept() == nbytes
    cache.put(("number", 1), 1, 25)
    assert numbers_kept(cache, range(2)) == [0, 1]


def test_values_of_different_kinds_do_not_meet() -> None:
    cache = ByteCache(30)
    cache.put(("features", "a", 0), "features", 1)
    cache.put(("text", "a", 0), "text", 1)
    cache.put(("features", "a", 1), "coarser", 1)
    assert cache.get(("features", "a", 0)) == "features"
    assert cache.get(("text", "a", 0)) == "text"
    assert cache.get(("features", "a", 1)) == "coarser"


def test_lookups_are_counted_by_kind_and_outcome() -> None:
    cache, before = ByteCache(30), lookups("number")
    cache.get(("number", 0))
    cache.put(("number", 0), 0, 1)
    cache.get(("number", 0))
    cache.get(("number", 0))
    assert lookups("number") == {"hit": before["hit"] + 2, "miss": before["miss"] + 1}


KEYS = st.integers(0, 5)
STEPS = st.lists(st.tuples(KEYS, st.none() | st.integers(1, 12)), max_size=60)


@given(st.integers(0, 30), STEPS)
def test_it_keeps_what_a_dictionary_in_order_of_use_would(
    max_bytes: int, steps: list[tuple[int, int | None]]
) -> None:
    """A step with bytes puts, one without gets."""
    cache, model = ByteCache(max_bytes), OrderedDict[int, tuple[int, int]]()
    for place, (number, nbytes) in enumerate(steps):
        if nbytes is None:
            expected = model.get(number)
            found = cache.get(("number", number))
            assert found == (None if expected is None else expected[0])
            if expected is not None:
                model.move_to_end(number)
        else:
            cache.put(("number", number), place, nbytes)
            if nbytes <= max_bytes:
                model[number] = (place, nbytes)
                model.move_to_end(number)
                while sum(taken for _, taken in model.values()) > max_bytes:
                    model.popitem(last=False)
                assert bytes_kept() == sum(taken for _, taken in model.values())
    assert len(cache) == len(model)
    assert numbers_kept(cache, range(6)) == sorted(model)


def test_threads_that_share_it_leave_it_within_its_bytes_and_the_sum_right() -> None:
    cache, threads, steps = ByteCache(100), 4, 3000
    sizes = [int(nbytes) for nbytes in np.random.default_rng(0).integers(1, 30, 50)]
    start = threading.Barrier(threads)
    wrong: list[object] = []

    def hammer(seed: int) -> None:
        numbers = np.random.default_rng(seed).integers(0, len(sizes), steps).tolist()
        start.wait()
        for number in numbers:
            found = cache.get(("number", number))
            if found is None:
                cache.put(("number", number), number, sizes[number])
            elif found != number:
                wrong.append((number, found))

    workers = [threading.Thread(target=hammer, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    kept = numbers_kept(cache, range(len(sizes)))
    assert len(cache) == len(kept) > 0
    assert bytes_kept() == sum(sizes[number] for number in kept) <= 100


def test_each_model_sees_its_own_values_of_one_cache() -> None:
    cache = ByteCache(100)
    one, other = cache.for_model("sam-vit-b"), cache.for_model("mobile-sam")
    one.put(("embedding", "image"), 1, 10)
    other.put(("embedding", "image"), 2, 10)
    cache.put(("embedding", "image"), 3, 10)
    assert [kept.get(("embedding", "image")) for kept in (one, other, cache)] == [1, 2, 3]
    assert one.get(("embedding", "other image")) is None
    assert cache.for_model("sam-vit-b").get(("embedding", "image")) == 1
    other.clear()
    assert one.get(("embedding", "image")) is None
    assert len(cache) == 0


def test_models_share_the_memory_and_the_share_of_a_kind() -> None:
    cache = ByteCache(100)
    one, other = cache.for_model("a"), cache.for_model("b")
    for number in range(3):
        one.put(("features", number), number, 20, share=0.5)
        other.put(("features", number), number, 20, share=0.5)
    assert len(cache) == 2
    assert one.get(("features", 2)) == other.get(("features", 2)) == 2


def test_look_ups_of_models_are_counted_by_the_kind_of_value() -> None:
    before = lookups("for a model")
    cache = ByteCache(100).for_model("a")
    cache.put(("for a model", 1), 1, 10)
    cache.get(("for a model", 1))
    cache.get(("for a model", 2))
    after = lookups("for a model")
    assert {outcome: after[outcome] - before[outcome] for outcome in after} == {"hit": 1, "miss": 1}
