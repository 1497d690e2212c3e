"""What each part of the models in bfloat16 wins and costs: the curve of speed against agreement.

On the trained demo models as many boxes as the default thresholds let through are compared with
those of float32; on the full-size models, of random weights, the best ones. Time is the
processor's, which other work on the machine changes least.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np

from benchmarks.agreement import RULE, compared, demo_jobs, demo_pipeline, pairs
from benchmarks.answers import IMAGES, QUICK_IMAGES, export_demo, proposals
from benchmarks.bench import Bench
from benchmarks.ours import Ours
from benchmarks.report import Record
from benchmarks.stages import PROMPT
from grounded_labeler.core.types import Boxes, Scores
from grounded_labeler.errors import SettingsError
from grounded_labeler.images.decode import decode
from grounded_labeler.models.runtime import mixed_precision, openvino
from grounded_labeler.models.runtime.device import Compute, Precision

# Parts of `mixed_precision.PARTS`, those that cost the least answers first.
STEPS: Mapping[str, tuple[Precision, Sequence[str]]] = {
    "fp32": ("fp32", ()),
    "segmenter": ("mixed", ("segmenter",)),
    "and decoder: mixed": ("mixed", mixed_precision.MIXED),
    "and feed-forward": ("mixed", (*mixed_precision.MIXED, "feed-forward")),
    "and backbone": ("mixed", (*mixed_precision.MIXED, "feed-forward", "backbone")),
    "bf16": ("bf16", ()),
}
_SIZE_WH, _BEST, _FULL_SIZE_IMAGES = (640, 480), 50, 4


def measure(bench: Bench) -> list[Record]:
    """Return a record for each step, of the demo models and then of the full-size ones."""
    if not _has_bf16():
        return [{"models": "none", RULE: "this CPU has no bf16"}]
    return [*_of_demo(bench), *_of_full_size(bench)]


@contextmanager
def in_bfloat16(parts: Sequence[str]) -> Iterator[None]:
    """While open, mixed precision puts `parts` into bfloat16 wherever a model is loaded."""
    with mock.patch.object(mixed_precision, "MIXED", parts):
        yield


def _of_demo(bench: Bench) -> Iterator[Record]:
    jobs = demo_jobs(QUICK_IMAGES if bench.is_quick else IMAGES)
    truth = None
    with TemporaryDirectory() as folder:
        export_demo(Path(folder))
        for name, (precision, parts) in STEPS.items():
            bench.say(f"demo models, {name}")
            with in_bfloat16(parts):
                pipeline = demo_pipeline(replace(bench.compute, precision=precision), Path(folder))
            found = pipeline.run(jobs)
            truth = truth or found
            yield compared(f"demo, {len(jobs)} images", name, truth, found)


def _of_full_size(bench: Bench) -> Iterator[Record]:
    images = [
        decode(bench.album[bench.album.new(_SIZE_WH)])
        for _ in range(1 if bench.is_quick else _FULL_SIZE_IMAGES)
    ]
    truth: list[tuple[Boxes, Scores]] = []
    for name, (precision, parts) in STEPS.items():
        bench.say(f"full-size models, {name}")
        with in_bfloat16(parts):
            ours = Ours.load(bench.folders, replace(bench.compute, precision=precision))
        found, seconds = [], []
        for image in images:
            start = time.process_time()
            found.append(proposals(ours, image, PROMPT))
            seconds.append(time.process_time() - start)
        truth = truth or [_best(*one) for one in found]
        same = sum(len(pairs(one, other)) for one, other in zip(truth, found, strict=True))
        share = same / (_BEST * len(images))
        yield {
            "models": f"full-size random, best {_BEST} of {len(images)} images",
            "computed by": name,
            "boxes": _BEST * len(images),
            "the same": same,
            "share": share,
            "detection, seconds of processor": float(np.min(seconds)),
        }


def _best(boxes: Boxes, scores: Scores) -> tuple[Boxes, Scores]:
    best = np.argsort(-scores, kind="stable")[:_BEST]
    return boxes[best], scores[best]


def _has_bf16() -> bool:
    try:
        openvino.openvino_graphs((), Path(), Compute(precision="mixed"))
    except SettingsError:
        return False
    return True
