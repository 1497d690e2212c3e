"""The forms that the results of a run are written in."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grounded_labeler.preannotate.results import ImageResult


@dataclass(frozen=True)
class DatasetImage:
    """An image of a dataset: its number, the name of its file, and what was found in it."""

    number: int
    file_name: str
    result: ImageResult


class DatasetExporter(Protocol):
    """Writes the results of a run to a file, in one format of datasets."""

    def __call__(
        self, path: Path, categories: Iterable[str], images: Iterable[DatasetImage], /
    ) -> None:
        """Write these images to `path`, with `categories` in this order before any others.

        Raises OSError when the file cannot be written.
        """
