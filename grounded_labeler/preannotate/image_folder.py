"""A folder of images: a task for each, with the path of its file."""

import hashlib
import json
import math
import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from PIL import Image

from grounded_labeler.errors import ImageError, SettingsError
from grounded_labeler.images.fetcher import Origin
from grounded_labeler.images.http_response import too_large
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.names import (
    DATASET,
    EMBEDDINGS,
    FAILURES,
    GROUPS,
    JOURNAL,
    LOG,
    SHEET,
    SHEET_NOTE,
    readable,
)
from grounded_labeler.preannotate.results import TaskResult

# Names of what images.decode() reads. Raw photos are TIFF inside: what would be read is
# their thumbnail, so that no file is taken for what it holds alone.
SUFFIXES = frozenset({
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".heic", ".heics", ".heif", ".heifs",
    ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pjp", ".pjpeg", ".png", ".tif", ".tiff",
    ".webp",
})  # fmt: skip
# What file managers and archives leave behind; hidden files are left out by their dot.
_LEFT_BEHIND = {"__macosx", "@eadir", "desktop.ini", "thumbs.db", "$recycle.bin"}
_SUFFIX = re.compile(r"\.\w{1,10}")
_MOST_KINDS = 10
_OURS = frozenset({
    DATASET, FAILURES, JOURNAL, f"{JOURNAL}-journal", LOG, SHEET,
    EMBEDDINGS, f"{EMBEDDINGS}-journal", GROUPS,
})  # fmt: skip
IMAGE_KEY = "image"  # of a path in a task's data


@dataclass(frozen=True)
class Folder:
    """The images in `folders`, or those of them that were named, by path below `root`.

    `passed_over` counts the other files by kind.
    """

    folders: tuple[Path, ...]
    paths: dict[str, Path]
    passed_over: Counter[str] = field(default_factory=Counter)

    @cached_property
    def tasks(self) -> list[Task]:
        """A task for each image, by its path below the folder, which is its id."""
        return [
            {"id": readable(name), "data": {IMAGE_KEY: str(path)}}
            for name, path in sorted(self.paths.items())
        ]

    @property
    def identity(self) -> str:
        return json.dumps({"folders": [str(folder) for folder in self.folders]})

    @property
    def name(self) -> str:
        return " and ".join(readable(str(folder)) for folder in self.folders)

    def content(self, task: Task) -> str:
        try:
            with Path(task["data"][IMAGE_KEY]).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""  # whoever looks at it will say why

    def content_seen(self, task: Task, result: TaskResult) -> str:
        return "".join(image.sha256 for image in result.found)

    def names(self, images: Sequence[tuple[Task, ImageTarget]]) -> list[str]:
        """Their paths, by which Python opens them, whatever their bytes are."""
        names = {readable(name): name for name in self.paths}
        return [names[task["id"]] for task, _ in images]

    @property
    def said(self) -> str:
        """The sentence about what was passed over; empty when nothing was."""
        kinds = sorted(self.passed_over.items(), key=lambda item: (-item[1], item[0]))
        if not kinds:
            return ""
        shown = [f"{count} {kind}" for kind, count in kinds[:_MOST_KINDS]]
        more = sum(count for _, count in kinds[_MOST_KINDS:])
        return f"Passed over: {', '.join(shown + [f'{more} others'] * bool(more))}."


class FolderReader:
    """Reads the files of a folder's tasks, of `max_bytes` at most, wherever links lead."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def fetch(
        self,
        uri: str,
        origin: Origin | None,
        task_id: int | None = None,
        time_left: float = math.inf,
    ) -> bytes:
        """The bytes of the file whose path is `uri`; raises ImageError."""
        path = Path(uri)
        try:
            if path.is_symlink() and not path.exists():
                raise ImageError("The link leads to no file.")
            if not path.is_file():  # it may have become a pipe, which would be waited for
                raise ImageError("The file is not there any more.")
            with path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise ImageError(f"The file cannot be read: {error.strerror}.") from error
        if len(data) > self._max_bytes:
            raise ImageError(too_large(self._max_bytes))
        return data


def read_folder(paths: Sequence[Path], out: Path) -> Folder:
    """Find the images in these folders and those below, and those that are named themselves.

    Links are followed; each folder is read once, however many links lead to it. Hidden
    files, what file managers leave behind, and what this command itself writes, into
    `out` or elsewhere before, are left out. Raises SettingsError when there is no image,
    or a folder cannot be read.
    """
    tops = [_real(path) for path in paths if path.is_dir()]
    named = [path for path in paths if not path.is_dir()]
    homes = {*tops, *(_real(path.parent) for path in named)}
    folders = tuple(sorted(home for home in homes if homes.isdisjoint(home.parents)))
    root = os.path.commonpath(folders)
    passed_over: Counter[str] = Counter()
    found: dict[str, Path] = {}
    for path in chain(named, _files(tops, passed_over)):
        image = _real(path.parent) / path.name if path in named else path
        if _is_ours(image, _real(out)):
            continue
        kind = _passed_over(image)
        if kind is None:
            found[os.path.relpath(image, root)] = image
        elif path in named and not os.path.lexists(path):
            raise SettingsError(_nothing([path]))
        else:
            passed_over[kind] += 1
    folder = Folder(folders, found, passed_over)
    if not found:
        raise SettingsError(f"{_nothing(paths)} {folder.said}".strip())
    return folder


def _files(tops: Sequence[Path], passed_over: Counter[str]) -> Iterator[Path]:
    """All files in these folders and those below that are not left out by their name."""
    folders, links, seen = deque(tops), deque[Path](), set[Path]()
    while folders or links:
        # Links last: an image that lies in the folder itself has its own path for a name.
        folder = folders.popleft() if folders else links.popleft()
        real = _real(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            below = [(path, path.is_dir()) for path in sorted(folder.iterdir())]
        except OSError as error:
            if folder in tops:
                reason = f"{readable(str(folder))} cannot be read: {error.strerror}."
                raise SettingsError(reason) from error
            passed_over["unreadable folder(s)"] += 1
            continue
        for path, is_folder in below:
            if path.name.startswith(".") or path.name.lower() in _LEFT_BEHIND:
                continue
            if not is_folder:
                yield path
            elif path.is_symlink():
                links.append(path)
            else:
                folders.append(path)


def _passed_over(path: Path) -> str | None:
    """The kind of a file that is no image by its name; None for an image."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        return suffix if _SUFFIX.fullmatch(suffix) else "without a suffix"
    # A link to nothing is an image that is missing, which is told as a failure.
    return None if path.is_file() or path.is_symlink() else "pipe(s) or device(s)"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises for a loop of links


def _is_ours(path: Path, out: Path) -> bool:
    """Whether this command wrote the file, in this run or an earlier one."""
    if path.name not in _OURS:
        return False
    home = path.parent
    if _real(home) == out or home.name == "preannotated" or (home / JOURNAL).exists():
        return True
    return path.name == SHEET and _has_note(path)


def _has_note(sheet: Path) -> bool:
    try:
        with Image.open(sheet, formats=("JPEG",)) as image:
            return image.info.get("comment") == SHEET_NOTE
    except OSError:
        return False


def _nothing(paths: Sequence[Path]) -> str:
    named = ", ".join(readable(str(path)) for path in paths[:3])
    kinds = ", ".join(sorted(SUFFIXES))
    return f"{named} is no folder with images ({kinds}) in it, and no image."
