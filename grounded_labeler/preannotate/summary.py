"""What a run came to: regions by label, failures, and a sheet of pictures to look at."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from grounded_labeler.answers import Prediction
from grounded_labeler.demo.drawing import draw
from grounded_labeler.preannotate.coco import label_of
from grounded_labeler.structures import RGBImage

SHEET = 16
_COLUMNS, _SIDE = 4, 400  # pictures in a row, pixels of the longer side of each


@dataclass
class Summary:
    """Counts of predictions, and the first pictures that have regions."""

    tasks: int = 0
    regions: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)  # task id to cause
    shown: list[tuple[str, Prediction]] = field(default_factory=list)

    @classmethod
    def of(cls, predictions: Iterable[tuple[str, Prediction]]) -> "Summary":
        made = cls()
        for task, prediction in predictions:
            made.tasks += 1
            if "result" not in prediction:
                made.failures[task] = str(prediction["error"])
                continue
            boxes = [one for one in prediction["result"] if one["type"] == "rectanglelabels"]
            made.regions.update(label_of(box) for box in boxes)
            if boxes and len(made.shown) < SHEET:
                made.shown.append((task, prediction))
        return made

    def print(self, console: Console) -> None:
        table = Table(title=f"{self.tasks} pictures, {len(self.failures)} failed")
        table.add_column("label")
        table.add_column("regions", justify="right")
        for label, count in self.regions.most_common():
            table.add_row(label, str(count))
        console.print(table)


def write_failures(failures: Mapping[str, str], path: Path) -> None:
    """A line for each task: its id, a tab, the cause; no file when there is none."""
    path.unlink(missing_ok=True)
    if failures:
        lines = (f"{task}\t{cause}\n" for task, cause in failures.items())
        path.write_text("".join(lines), encoding="utf-8")


def write_sheet(
    shown: Sequence[tuple[str, Prediction]], load: Callable[[str], RGBImage], path: Path
) -> None:
    """The contact sheet: the pictures with their regions drawn, four in a row; none without any."""
    path.unlink(missing_ok=True)
    if not shown:
        return
    rows = -(-len(shown) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _SIDE, rows * _SIDE), "white")
    for place, (task, prediction) in enumerate(shown):
        picture = Image.fromarray(draw(load(task), prediction["result"]))
        picture.thumbnail((_SIDE, _SIDE))
        row, column = divmod(place, _COLUMNS)
        sheet.paste(picture, (column * _SIDE, row * _SIDE))
    sheet.save(path, quality=85)
