"""Threads share the models of one process, on a GPU as on a CPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks.agreement import WANTED, compared, demo_folder, demo_pipeline
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.inference.backend import Priority, never_cancelled
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from tests.gpu.devices import DEVICES, drawn, jobs, truth

pytestmark = pytest.mark.slow

THREADS = 8
DEADLINE_S = 300.0


def ask(backend: LocalBackend, job: InferenceRequest) -> InferenceResult:
    [found] = backend.run([job], never_cancelled, DEADLINE_S, Priority.TYPED_PROMPT)
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_clients_at_once_get_the_answers_of_one_after_the_other(device: str) -> None:
    pipeline = demo_pipeline(Compute(device), batch_size=4, cache_bytes=2**26)
    backend = LocalBackend(lambda: pipeline, InferenceQueue(DEADLINE_S))
    backend.wait_until_ready()
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda job: ask(backend, job), jobs()))
    row = compared("demo", "at once", truth(), found)
    assert row["share"] >= WANTED, row


@pytest.mark.parametrize("device", DEVICES)
def test_threads_share_a_segmenter(device: str) -> None:
    segmenter = load_segmenter("sam", demo_folder("segmenter"), Compute(device))
    images = drawn(THREADS)
    box = VisualPrompts.of_boxes(np.array([[40, 30, 200, 180]], np.float32))
    alone = [segmenter.segment(image, box)[0].mask.full() for image in images]
    with ThreadPoolExecutor(THREADS) as threads:
        at_once = list(threads.map(lambda image: segmenter.segment(image, box)[0], images))
    for one, other in zip(alone, at_once, strict=True):
        assert (one ^ other.mask.full()).sum() <= 2
