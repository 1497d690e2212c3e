"""Write an evaluation beside its page: all figures as JSON, the labels as CSV, COCO's documents."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import RootModel

from grounded_labeler.errors import SettingsError
from grounded_labeler.evaluation.coco_eval import CocoResult, CocoTruth, coco_results, coco_truth
from grounded_labeler.preannotate.names import JOURNAL, readable
from grounded_labeler.quality.figures import Figures, LabelFigures, Rate
from grounded_labeler.quality.files import write_whole
from grounded_labeler.quality.measure import Evaluation
from grounded_labeler.quality.report.words import ALL_TOGETHER

PAGE, FIGURES, LABELS = "report.html", "evaluation.json", "labels.csv"
# What pycocotools computes the same metrics from. Of masks, objects without one are left out.
TRUTH, DETECTIONS = "truth.json", "detections.json"
MASK_TRUTH, MASK_DETECTIONS = "truth-masks.json", "detections-masks.json"
# Of a comparison, so that an evaluation in the same folder stays.
COMPARISON, COMPARISON_FIGURES = "comparison.html", "comparison.json"
COMPARED_LABELS = "comparison.csv"
_NAMES = (
    PAGE, FIGURES, LABELS, TRUTH, DETECTIONS, MASK_TRUTH, MASK_DETECTIONS,
    COMPARISON, COMPARISON_FIGURES, COMPARED_LABELS,
)  # fmt: skip


def check_replaceable(out: Path, truth: Path | None) -> None:
    """Raise SettingsError where the report would replace the truth, or what others wrote.

    A folder with a journal in it is one that a run wrote.
    """
    there = [out / name for name in _NAMES if (out / name).exists()]
    for path in there:
        if truth is not None and truth.exists() and path.samefile(truth):
            raise SettingsError(
                f"The report has a file {path.name}, which would replace that of --truth: name "
                "another --out."
            )
    if there and not (out / JOURNAL).exists():
        raise SettingsError(
            f"{readable(str(out))} holds a {there[0].name} that no evaluation wrote, and that the "
            "report would replace: name another --out."
        )


def write_evaluation(
    out: Path, page: str, evaluation: Evaluation, figures: Figures, file_names: Sequence[str]
) -> None:
    """Write the page of an evaluation into the folder `out`, and all files beside it.

    `file_names` are those of the images, for COCO's documents.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / PAGE, page)
    write_whole(out / FIGURES, f"{RootModel(figures).model_dump_json(indent=1)}\n")
    write_whole(out / LABELS, labels_table(figures), newline="")
    labels = evaluation.labels
    truths = [image.truth for image in evaluation.images]
    every = [image.every for image in evaluation.images]
    names = list(file_names)
    _write_json(coco_truth(truths, labels, kind="bbox", file_names=names), out / TRUTH)
    _write_json(coco_results(every, labels, kind="bbox"), out / DETECTIONS)
    for path in (out / MASK_TRUTH, out / MASK_DETECTIONS):
        path.unlink(missing_ok=True)
    if evaluation.masks is not None:
        _write_json(coco_truth(truths, labels, kind="segm", file_names=names), out / MASK_TRUTH)
        _write_json(coco_results(every, labels, kind="segm"), out / MASK_DETECTIONS)


def labels_table(figures: Figures) -> str:
    """Return the figures of the labels as CSV, those of all together last; empty if not defined."""
    written = io.StringIO()
    writer = csv.writer(written)
    rates = [f"{name}{end}" for name in ("precision", "recall", "f1") for end in _ENDS]
    writer.writerow(
        ["label", "threshold", "objects", "found", "missed", "wrong", *rates,
         "ap50", "ap", "mask_ap50", "mask_ap"]
    )  # fmt: skip
    for one in (*figures.labels, figures.total):
        writer.writerow(_row(one))
    return written.getvalue()


_ENDS = ("", "_low", "_high")


def _row(one: LabelFigures) -> list[str | int | float | None]:
    thresholds = " ".join(f"{threshold:g}" for threshold in one.thresholds)
    name = ALL_TOGETHER if one.label is None else one.label
    row: list[str | int | float | None] = [
        name, thresholds, one.truths, one.found, one.missed, one.wrong,
    ]  # fmt: skip
    for rate in (one.precision, one.recall, one.f1):
        row += _cells(rate)
    return [*row, one.ap50, one.ap, one.mask_ap50, one.mask_ap]


def _cells(rate: Rate) -> list[float | None]:
    ends = rate.interval
    return [rate.value, None, None] if ends is None else [rate.value, ends.low, ends.high]


def _write_json(document: CocoTruth | list[CocoResult], path: Path) -> None:
    write_whole(path, json.dumps(document, allow_nan=False))
