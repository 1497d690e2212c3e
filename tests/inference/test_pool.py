"""Several pairs of models in one process: each model once, on first use, while there is room."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.errors import NotReady, StillLoading
from grounded_labeler.inference.backend import BackendState, Priority, never_cancelled
from grounded_labeler.inference.pool import ModelPool
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.weights.choice import ModelChoice
from tests.helpers.loaders import Loader
from tests.helpers.models_thread import WAIT_S
from tests.helpers.serving import wait_until

A, B, C = ModelChoice("a", "s"), ModelChoice("b", "s"), ModelChoice("c")
REQUEST = InferenceRequest(
    DecodedImage.of(np.zeros((9, 9, 3), np.uint8)),
    parse_prompt("cat", ()),
    (),
    Thresholds(0.3, 0.25, 0.7, 100),
    with_masks=False,
)


@pytest.fixture
def loader() -> Loader:
    return Loader()


MakePool = Callable[..., ModelPool]


@pytest.fixture
def make_pool(loader: Loader) -> MakePool:
    """A pool whose default pair is A, and is loaded."""

    def make(max_bytes: int | None = None, retry_after_s: float = 60.0) -> ModelPool:
        pool = ModelPool(loader, InferenceQueue(WAIT_S), A, max_bytes, retry_after_s)
        pool.default.wait_until_ready(WAIT_S)
        return pool

    return make


def use(pool: ModelPool, choice: ModelChoice) -> None:
    """Run a request as a service does."""
    backend = pool.of(choice)
    with backend.hold():
        backend.wait_until_ready(WAIT_S)
        [result] = backend.run([REQUEST], never_cancelled, WAIT_S, Priority.TYPED_PROMPT)
    assert result.size_hw == (9, 9)


def test_the_default_is_loaded_at_start_and_others_once_they_are_needed(
    make_pool: MakePool, loader: Loader
) -> None:
    pool = make_pool()
    assert loader.loads == ["a", "s"]
    assert pool.of(A) is pool.default
    other = pool.of(C)
    assert loader.loads == ["a", "s"]
    assert not pool.default.others_loaded
    use(pool, C)
    assert loader.loads == ["a", "s", "c"]
    assert pool.of(C) is other
    assert pool.default.others_loaded == ("c",)


def test_pairs_share_the_models_they_have_in_common(make_pool: MakePool, loader: Loader) -> None:
    pool = make_pool()
    use(pool, B)
    use(pool, ModelChoice("a"))
    use(pool, A)
    assert loader.loads == ["a", "s", "b"]
    assert pool.of(B).pipeline.segmenter is pool.default.pipeline.segmenter
    assert pool.of(B).pipeline is pool.of(B).pipeline  # what shares a batch is one object
    # Each was run once before anybody asked, and no more for a second pair.
    assert loader.ran == {"a": 3, "b": 2, "s": 1}


def test_a_model_that_is_both_is_one(make_pool: MakePool, loader: Loader) -> None:
    pool = make_pool(max_bytes=300)
    use(pool, ModelChoice("both", "both"))
    use(pool, ModelChoice("both", "both"))
    assert loader.loads == ["a", "s", "both"]
    assert (
        loader.ran["both"] == 4
    )  # as a detector and as a segmenter when it was loaded, then twice
    use(pool, C)
    assert loader.is_gone("both")


def test_one_load_at_a_time_while_requests_for_others_go_on(
    make_pool: MakePool, loader: Loader
) -> None:
    pool = make_pool()
    loader.gates = {"b": threading.Event(), "c": threading.Event()}
    with ThreadPoolExecutor() as callers:
        waiting = [callers.submit(use, pool, choice) for choice in (B, C, B)]
        wait_until(lambda: len(loader.loads) == 3)
        use(pool, A)
        with pytest.raises(StillLoading, match="still loading"):
            pool.of(B).run([REQUEST], never_cancelled, WAIT_S, Priority.TYPED_PROMPT)
        with pytest.raises(StillLoading):
            pool.of(C).wait_until_ready(0)
        assert len(loader.loads) == 3
        for gate in loader.gates.values():
            gate.set()
        for one in waiting:
            one.result()
    assert loader.most_at_once == 1
    assert sorted(loader.loads[2:]) == ["b", "c"]


def test_beyond_the_limit_the_least_recently_used_goes_and_its_memory_with_it(
    make_pool: MakePool, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool, d, e = make_pool(max_bytes=400), ModelChoice("d"), ModelChoice("e", "s")
    use(pool, C)
    use(pool, d)
    use(pool, C)
    assert pool.default.others_loaded == ("c", "d")
    use(pool, e)
    assert pool.default.others_loaded == ("c", "e+s")
    assert loader.is_gone("d")
    assert not loader.is_gone("c")
    assert "Unloading the detector d, for which others need the memory: it was that of d" in [
        one.getMessage() for one in caplog.records
    ]
    use(pool, d)  # it is loaded again, and then c is the oldest
    assert pool.default.others_loaded == ("d", "e+s")
    assert loader.is_gone("c")
    assert Counter(loader.loads) == {"a": 1, "s": 1, "c": 1, "d": 2, "e": 1}


def test_a_loaded_model_is_that_of_the_files_it_was_loaded_from(
    make_pool: MakePool, loader: Loader
) -> None:
    pool = make_pool(max_bytes=300)

    def sums(choice: ModelChoice) -> list[str]:
        summary = pool.of(choice).summary()
        assert summary is not None
        return [model.sha256["file"] for model in summary.models]

    use(pool, C)
    loader.sums |= {"a": "later", "s": "later", "b": "later", "c": "later"}
    assert sums(A) == ["first", "first"]
    assert sums(B) == ["later", "first"]  # it is not loaded, and shares the segmenter
    assert sums(C) == ["first"]
    use(pool, B)
    assert sums(B) == ["later", "first"]
    assert loader.is_gone("c")
    assert sums(C) == ["later"]
    both = ModelChoice("both", "both")
    use(pool, both)
    loader.sums["both"] = "later"
    assert sums(both) == ["first", "first"]


def test_what_a_request_needs_stays_and_so_does_the_default(
    make_pool: MakePool, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(max_bytes=1)
    held = pool.of(C)
    with held.hold():
        held.wait_until_ready(WAIT_S)
        use(pool, B)
        assert held.is_loaded
        assert held.run([REQUEST], never_cancelled, WAIT_S, Priority.TYPED_PROMPT)
        assert loader.is_gone("b")
    assert loader.is_gone("c")
    assert pool.default.others_loaded == ()
    assert pool.default.is_loaded
    assert "Loading the detector b beyond MODELS_BYTES" in caplog.text
    use(pool, A)
    assert loader.loads.count("a") == 1


def test_a_load_that_failed_is_told_and_tried_again_later(
    make_pool: MakePool, loader: Loader
) -> None:
    pool = make_pool(retry_after_s=3600)
    loader.broken = {"b"}
    for _ in range(2):
        with pytest.raises(NotReady, match="b is damaged"):
            use(pool, B)
    loader.broken = set()
    with pytest.raises(NotReady, match="b is damaged"):
        use(pool, B)  # it is not later yet
    pool, loader.broken = make_pool(retry_after_s=0), {"b"}
    with pytest.raises(NotReady, match="b is damaged"):
        use(pool, B)
    loader.broken = set()
    use(pool, B)
    use(pool, A)


def test_what_a_load_that_failed_had_loaded_is_gone(
    make_pool: MakePool, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("too large")

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "warm_up", fail)
        with pytest.raises(NotReady, match="could not be loaded"):
            use(pool, ModelChoice("b", "t"))
    wait_until(lambda: loader.is_gone("b") and loader.is_gone("t"))
    use(pool, A)


def test_a_default_that_cannot_be_loaded_is_down_for_good(loader: Loader) -> None:
    loader.broken = {"a"}
    pool = ModelPool(loader, InferenceQueue(WAIT_S), A, retry_after_s=0)
    for _ in range(2):
        with pytest.raises(NotReady, match="a is damaged"):
            pool.default.wait_until_ready(WAIT_S)
        assert pool.default.state is BackendState.FAILED
    use(pool, C)
