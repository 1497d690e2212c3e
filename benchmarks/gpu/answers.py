"""Whether a device gives the answers of float32 on the CPU, by the rule of `agreement`."""

import time

from benchmarks.agreement import RULE, WANTED, compared, demo_jobs, demo_pipeline
from benchmarks.gpu.measuring import Notes
from benchmarks.gpu.results import Record, judged
from benchmarks.gpu.sides import Sides
from grounded_labeler.models.runtime.device import Compute, Precision

TABLE = "Boxes and masks that are the same"
_IMAGES, _FEW_IMAGES = 100, 8


def measure_answers(sides: Sides, notes: Notes) -> None:
    """Note each precision of the device, beside float32 on the CPU."""
    jobs = demo_jobs(_FEW_IMAGES if sides.is_small else _IMAGES)
    truth = demo_pipeline(Compute("cpu", threads=sides.threads)).run(jobs)
    took = 0.0
    for precision in sides.precisions:
        if not notes.has_time_for(precision, took):
            continue
        start = time.time()
        found = demo_pipeline(sides.compute(precision)).run(jobs)
        name = f"{sides.device} {precision}"
        row = compared(f"demo, {len(jobs)} images", name, truth, found)
        notes.record(TABLE, by_the_rule(row, precision))
        took = time.time() - start


def by_the_rule(row: Record, precision: Precision) -> Record:
    """Return the row with its goal; bfloat16, which no service takes by default, has none."""
    kept = row["share"] >= WANTED
    figures = {key: value for key, value in row.items() if key != RULE}
    if precision == "bf16":
        return {**figures, "keeps the rule": kept}
    return judged(figures, RULE, reached=kept)
