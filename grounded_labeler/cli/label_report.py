"""What `grounded-labeler label` prints of each image: a table, or a line of JSON."""

import json
import sys
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounded_labeler._text import rounded_down
from grounded_labeler.core.inference import near_miss_threshold
from grounded_labeler.preannotate.names import readable
from grounded_labeler.results import DetectedObject, LabelResult


class Report(Protocol):
    """Prints what became of each image."""

    def result(self, image: Path, result: LabelResult, drawing: Path | None) -> None:
        """Print what was found in `image`, and where it was drawn."""
        ...

    def failure(self, image: Path, sentence: str) -> None:
        """Print why `image` could not be labelled."""
        ...


class TextReport:
    """Prints a table of objects and what lay just below the thresholds, for people."""

    def __init__(self, box_threshold: float, text_threshold: float) -> None:
        """Explain results by these thresholds, which they were made with."""
        self._box, self._text = box_threshold, text_threshold
        self._console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)

    def result(self, image: Path, result: LabelResult, drawing: Path | None) -> None:
        height, width = result.size_hw
        self._say(f"{readable(str(image))}  {width} x {height}")
        if len(result):
            self._console.print(_table(result))
        for line in self._below(result):
            self._say(line)
        if drawing is not None:
            self._say(f"Drawn in {readable(str(drawing))}")
        self._say("")

    def failure(self, image: Path, sentence: str) -> None:
        sys.stdout.flush()
        line = _about(image, sentence).replace(str(image), readable(str(image)))
        sys.stderr.write(f"{line}\n")

    def _say(self, line: str) -> None:
        self._console.print(Text(line))

    def _below(self, result: LabelResult) -> list[str]:
        """A line for each phrase that has more to show at another threshold, or nothing at all."""
        lines = []
        near: dict[str, list[DetectedObject]] = {}
        for one in result.near_misses:
            near.setdefault(one.phrase, []).append(one)
        for phrase, best in result.best_scores.items():
            limit = result.box_thresholds[phrase]
            scores = [one.score for one in near.get(phrase, ())]
            if scores:
                listed = ", ".join(rounded_down(score) for score in scores)
                lower = rounded_down(min(scores))
                # A threshold typed in the prompt goes before the option.
                how = f"--box-threshold {lower}" if limit == self._box else f'"{phrase} > {lower}"'
                lines.append(
                    f'Just below the box threshold {limit:.4g}: "{phrase}" {listed}. '
                    f"{how} shows {'it' if len(scores) == 1 else 'them'}."
                )
            elif phrase not in result.phrases:
                presence = None if result.presence is None else result.presence[phrase]
                lines.append(f'Nothing for "{phrase}": {self._why(best, presence, limit)}')
        return lines

    def _why(self, best: float, presence: float | None, limit: float) -> str:
        lowest = near_miss_threshold(limit)
        if lowest is None or best < lowest:
            here = "" if presence is None else f", and its presence {rounded_down(presence)}"
            return f"its best score is {rounded_down(best)}{here}."
        if presence is not None:
            return f"a box scores {rounded_down(best)}, but another phrase fits better."
        return (
            f"a word of it scores {rounded_down(best)}, but no box fits the whole phrase at the "
            f"text threshold {self._text:.4g}, or another phrase fits better. A lower "
            "--text-threshold may show it."
        )


class JsonReport:
    """Prints a line of JSON for each image, for programs."""

    def result(self, image: Path, result: LabelResult, drawing: Path | None) -> None:
        objects = [
            _plain(one) | {"area": coco["area"], "segmentation": coco.get("segmentation")}
            for one, coco in zip(result, result.to_coco(), strict=True)
        ]
        _write_json(
            {
                "image": str(image),
                "size_hw": list(result.size_hw),
                "objects": objects,
                "near_misses": [_plain(one) for one in result.near_misses],
                "best_scores": dict(result.best_scores),
                "presence": None if result.presence is None else dict(result.presence),
                "drawing": None if drawing is None else str(drawing),
            }
        )

    def failure(self, image: Path, sentence: str) -> None:
        _write_json({"image": str(image), "error": _about(image, sentence)})


def _table(result: LabelResult) -> Table:
    columns = ["name", "phrase", "score", "x", "y", "width", "height"]
    table = Table(box=box.SIMPLE)
    for column in [*columns, *(["mask pixels"] if result.has_masks else [])]:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for name, phrase, coco in zip(result.names, result.phrases, result.to_coco(), strict=True):
        numbers = [f"{value:.0f}" for value in coco["bbox"]]
        if result.has_masks:
            numbers.append(f"{coco['area']:.0f}")
        table.add_row(Text(name), Text(phrase), rounded_down(coco["score"]), *numbers)
    return table


def _plain(one: DetectedObject) -> dict[str, object]:
    return {
        "label": one.label,
        "phrase": one.phrase,
        "score": one.score,
        "box": [round(float(corner), 2) for corner in one.box],
    }


def _about(image: Path, sentence: str) -> str:
    return sentence if sentence.startswith(str(image)) else f"{image}: {sentence}"


def _write_json(value: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(value, ensure_ascii=True, allow_nan=False)}\n")
    sys.stdout.flush()
