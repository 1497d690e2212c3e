"""A folder of pictures as a project: a task for each, and a label config for its labels."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from grounded_labeler.errors import SettingsError
from grounded_labeler.looks import Task

SUFFIXES = {".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def tasks_of(folder: Path) -> list[Task]:
    """A task for each picture in `folder` and the folders below, by path, which is its id.

    Raises SettingsError when there is none, or the folder cannot be read.
    """
    try:
        names = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise SettingsError(f"{folder} cannot be read: {error.strerror}.") from error
    if not names:
        kinds = ", ".join(sorted(SUFFIXES))
        raise SettingsError(f"{folder} is no folder with pictures ({kinds}) in it.")
    return [
        {"id": name, "data": {"image": f"/data/local-files/?d={quote(name)}"}} for name in names
    ]


def config_of(labels: Sequence[str]) -> str:
    """A label config that holds a box and a mask of each object of these labels."""
    values = "".join(f"<Label value={quoteattr(label)}/>" for label in labels)
    return (
        '<View><Image name="image" value="$image"/>'
        f'<RectangleLabels name="boxes" toName="image">{values}</RectangleLabels>'
        f'<BrushLabels name="masks" toName="image">{values}</BrushLabels></View>'
    )
