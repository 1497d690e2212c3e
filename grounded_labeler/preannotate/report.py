"""What a run came to: objects by label, failures, and a sheet of images to look at."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounded_labeler.console import tell
from grounded_labeler.core.inference import Failure
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.preannotate.names import SHEET_NOTE, one_line
from grounded_labeler.preannotate.results import ImageResult, TaskId, TaskOutcome, TaskResult
from grounded_labeler.rendering import Shape, draw_thumbnail

MOST_SHOWN = 16
_COLUMNS, _SIDE = 4, 400  # images in a row, pixels of the longer side of each
_AT_ONCE = 4  # images loaded and drawn, of 12 megapixels in a third of a second each


@dataclass
class Summary:
    """Counts of outcomes, and the first results with objects in them."""

    tasks: int = 0
    regions: Counter[str] = field(default_factory=Counter)
    failures: dict[TaskId, str] = field(default_factory=dict)  # and the cause of each
    shown: list[tuple[TaskId, TaskResult]] = field(default_factory=list)
    nearly_black: int = 0  # images

    def add(self, outcomes: Iterable[tuple[TaskId, TaskOutcome]]) -> None:
        """Count these, too."""
        for task, outcome in outcomes:
            self.tasks += 1
            if isinstance(outcome, Failure):
                self.failures[task] = outcome.reason
                continue
            self.nearly_black += sum(image.is_nearly_black for image in outcome.found)
            names = [name for image in outcome.found for name in image.names]
            self.regions.update(names)
            if names and len(self.shown) < MOST_SHOWN:
                self.shown.append((task, outcome))

    def print(self) -> None:
        """Write the table to standard output, with labels as they are, whatever they hold."""
        table = Table(title=f"{self.tasks} tasks, {len(self.failures)} failed")
        table.add_column("label")
        table.add_column("regions", justify="right")
        for label, count in self.regions.most_common():
            table.add_row(Text(label), str(count))
        Console().print(table)
        if self.nearly_black:
            tell(
                f"Nearly black: {self.nearly_black} images of more than 8 bits a channel. 12-bit "
                "data in 16-bit files? STRETCH=true or --stretch brightens them."
            )


def write_failures(failures: Mapping[TaskId, str], path: Path) -> None:
    """A line for each task: its id, a tab, the cause; no file when there is none."""
    path.unlink(missing_ok=True)
    if failures:
        lines = (f"{task}\t{one_line(cause)}\n" for task, cause in failures.items())
        path.write_text("".join(lines), encoding="utf-8")


def write_sheet(
    shown: Sequence[tuple[TaskId, TaskResult]],
    target: str,
    load: Callable[[TaskId], RGBImage],
    path: Path,
) -> None:
    """The contact sheet: the images with their objects drawn, four in a row; none without any.

    `load` gives the image of a task that the config calls `target`; several threads call it.
    """
    path.unlink(missing_ok=True)
    if not shown:
        return

    def draw(one: tuple[TaskId, TaskResult]) -> Image.Image | None:
        task, result = one
        try:
            image = load(task)
        except ImageError:
            return None  # it was there before: its place stays white
        found = result.images[target]
        shapes = [] if isinstance(found, Failure) else _shapes(found)
        return draw_thumbnail(image, shapes, _SIDE)

    rows = -(-len(shown) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _SIDE, rows * _SIDE), "white")
    threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sheet")
    try:
        for place, thumbnail in enumerate(threads.map(draw, shown)):
            row, column = divmod(place, _COLUMNS)
            if thumbnail is not None:
                sheet.paste(thumbnail, (column * _SIDE, row * _SIDE))
    finally:  # an interrupt does not wait for all of them
        threads.shutdown(wait=False, cancel_futures=True)
    sheet.save(path, quality=85, comment=SHEET_NOTE)


def _shapes(image: ImageResult) -> list[Shape]:
    """The objects to draw, named by label, or by phrase in brackets."""
    masks: Sequence[Mask | None] = image.unpacked().masks or [None] * len(image.boxes)
    names = [
        label or f"({phrase})" for label, phrase in zip(image.labels, image.phrases, strict=True)
    ]
    return [
        Shape(name, float(score), box, mask)
        for name, score, box, mask in zip(names, image.scores, image.boxes, masks, strict=True)
    ]
