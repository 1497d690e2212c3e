"""What a run came to: regions by label, failures, and a sheet of images to look at."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.label_studio.prediction_builder import Prediction
from grounded_labeler.label_studio.rendering import draw
from grounded_labeler.preannotate.coco import label_of
from grounded_labeler.preannotate.local_runner import TaskId
from grounded_labeler.preannotate.names import SHEET_NOTE, one_line

MOST_SHOWN = 16
_COLUMNS, _SIDE = 4, 400  # images in a row, pixels of the longer side of each


def labels_of(prediction: Prediction) -> list[str]:
    """The label of each object: its box's, or where no boxes are drawn that of its mask."""
    # A bare Rectangle and its label are two results of one id.
    regions = [region for region in prediction["result"] if "id" in region]
    named = {region["id"]: label_of(region) for region in regions}
    boxes = {region["id"] for region in regions if "width" in region["value"]}
    return [label for number, label in named.items() if number in boxes or not boxes]


@dataclass
class Summary:
    """Counts of predictions, and the first ones that have regions."""

    tasks: int = 0
    regions: Counter[str] = field(default_factory=Counter)
    failures: dict[TaskId, str] = field(default_factory=dict)  # and the cause of each
    shown: list[tuple[TaskId, Prediction]] = field(default_factory=list)

    def add(self, predictions: Iterable[tuple[TaskId, Prediction]]) -> None:
        """Count these, too."""
        for task, prediction in predictions:
            self.tasks += 1
            if "result" not in prediction:
                self.failures[task] = str(prediction["error"])
                continue
            labels = labels_of(prediction)
            self.regions.update(labels)
            if labels and len(self.shown) < MOST_SHOWN:
                self.shown.append((task, prediction))

    def print(self) -> None:
        """Write the table to standard output, with labels as they are, whatever they hold."""
        table = Table(title=f"{self.tasks} tasks, {len(self.failures)} failed")
        table.add_column("label")
        table.add_column("regions", justify="right")
        for label, count in self.regions.most_common():
            table.add_row(Text(label), str(count))
        Console().print(table)


def write_failures(failures: Mapping[TaskId, str], path: Path) -> None:
    """A line for each task: its id, a tab, the cause; no file when there is none."""
    path.unlink(missing_ok=True)
    if failures:
        lines = (f"{task}\t{one_line(cause)}\n" for task, cause in failures.items())
        path.write_text("".join(lines), encoding="utf-8")


def write_sheet(
    shown: Sequence[tuple[TaskId, Prediction]],
    target: str,
    load: Callable[[TaskId], RGBImage],
    path: Path,
) -> None:
    """The contact sheet: the images with their regions drawn, four in a row; none without any.

    `load` gives the image of a task that the config calls `target`.
    """
    path.unlink(missing_ok=True)
    if not shown:
        return
    rows = -(-len(shown) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _SIDE, rows * _SIDE), "white")
    for place, (task, prediction) in enumerate(shown):
        try:
            image = load(task)
        except ImageError:
            continue  # it was there before: its place stays white
        regions = [region for region in prediction["result"] if region["to_name"] == target]
        thumbnail = Image.fromarray(draw(image, regions))
        thumbnail.thumbnail((_SIDE, _SIDE))
        row, column = divmod(place, _COLUMNS)
        sheet.paste(thumbnail, (column * _SIDE, row * _SIDE))
    sheet.save(path, quality=85, comment=SHEET_NOTE)
