"""Segmenters of the published sizes side by side, each in a process of its own.

`python -m benchmarks.segmenters NAME THREADS` measures one.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.full_size import MODELS, SEGMENTER_ENGINES, make_segmenter
from benchmarks.images import draw
from benchmarks.ours import ModelStages, export_segmenter_once
from benchmarks.report import Record
from benchmarks.timing import Stopwatch
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter

_SIZE_WH, _BOXES, _ROUNDS = (640, 480), 10, 3
_ENCODE, _DECODE = "segment-encode", "segment-decode"
_ROOT, _MIB = Path(__file__).parents[1], 2**20


def measure(bench: Bench) -> list[Record]:
    """Encoder, decoder, graphs and memory of each segmenter."""
    records: list[Record] = []
    for name in SEGMENTER_ENGINES:
        bench.say(f"segmenters, {name}")
        command = [sys.executable, "-m", "benchmarks.segmenters", name, str(bench.compute.threads)]
        done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True, text=True)
        records.append(json.loads(done.stdout.splitlines()[-1]))
    return records


def record(name: str, threads: int, root: Path = MODELS) -> Record:
    """One segmenter's record: medians of seconds for one image, for its boxes, and MiB."""
    folder = make_segmenter(root, name)
    graphs = export_segmenter_once(folder, root)
    observer = ModelStages()
    segmenter = load_segmenter(
        SEGMENTER_ENGINES[name],
        folder,
        Compute(threads=threads),
        exported=graphs,
        observer=observer,
    )
    left_top = np.random.default_rng(0).uniform(0, 200, (_BOXES, 2))
    boxes = np.concatenate((left_top, left_top + 150), axis=1).astype(np.float32)
    taken: list[dict[str, float]] = []
    for seed in range(_ROUNDS + 1):  # the first run is slower
        watch = Stopwatch("cpu")
        with observer.timed_by(watch), watch.whole():
            image = DecodedImage.of(draw(_SIZE_WH, seed))
            segmenter.segment(image, VisualPrompts.of_boxes(boxes))
        taken.append(watch.seconds)
    resident, peak = machine.resident_bytes(), machine.peak_resident_bytes()
    return {
        "segmenter": name,
        "encoder, s": round(median(one[_ENCODE] for one in taken[1:]), 3),
        f"decoder, {_BOXES} boxes, s": round(median(one[_DECODE] for one in taken[1:]), 3),
        "graphs, MiB": round(sum(path.stat().st_size for path in graphs.iterdir()) / _MIB),
        "memory, MiB": None if resident is None else round(resident / _MIB),
        "peak, MiB": None if peak is None else round(peak / _MIB),
    }


if __name__ == "__main__":
    machine.pin_threads(int(sys.argv[2]))
    sys.stdout.write(f"{json.dumps(record(sys.argv[1], int(sys.argv[2])))}\n")
