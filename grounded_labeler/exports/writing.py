"""Write a dataset in all forms that were asked for, all or nothing."""

import csv
import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.__about__ import __version__
from grounded_labeler.console import tell
from grounded_labeler.errors import ExportError
from grounded_labeler.exports.formats import FORMS
from grounded_labeler.exports.placing import ImageFiles, class_names, place
from grounded_labeler.exports.split import Split
from grounded_labeler.exports.types import ExportDataset, LeftOut, PlacedDataset
from grounded_labeler.preannotate.exporters.coco import MADE_BY
from grounded_labeler.preannotate.names import one_line, readable

MANIFEST, IMAGES, LEFT_OUT = "export.json", "images.tsv", "left-out.tsv"
_CACHE = ".cache"  # what trainers leave beside labels
_TEXTS = frozenset({".json", ".tsv", ".txt", ".xml", ".yaml"})


@dataclass(frozen=True)
class Writing:
    """What is written, and where.

    Attributes:
        out: the folder of the dataset, with one for each form.
        formats: names of forms, as FORMS has them.
        split: which images are on which side.
        files: what is written of the image files.
        max_pixels: the most that an image may have.
        stretch: whether channels of more than 8 bits are stretched.
    """

    out: Path
    formats: Sequence[str]
    split: Split
    files: ImageFiles
    max_pixels: int
    stretch: bool = False

    def check(self) -> None:
        """Raise ExportError when there is something at `out` that is not all of this command's."""
        out = Path(os.path.realpath(self.out))
        if not os.path.lexists(out):
            return
        if not out.is_dir():
            raise ExportError(f"{readable(str(self.out))} is no folder: name another --out.")
        if not any(out.iterdir()):
            return
        try:
            known = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            known = None
        if known != _fingerprint(out):
            raise ExportError(
                f"{readable(str(self.out))} holds files that this command did not write, or that "
                "were changed since: name another --out, or move them away."
            )


def write_dataset(dataset: ExportDataset, writing: Writing) -> int:
    """Write it and say what there is; return 2 when images are left out, and else 0.

    Everything is written beside `out` first. Raises ExportError for a dataset without an image,
    and for what a form cannot hold; OSError.
    """
    out = Path(os.path.realpath(writing.out))
    part = out.with_name(f".export-{secrets.token_hex(6)}")
    try:
        part.mkdir(parents=True)
        placed, left_out = _written(dataset, writing, part)
        writing.check()  # it may have become somebody else's meanwhile
        _move(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _say(placed, left_out, writing)
    return 2 if left_out else 0


def _written(
    dataset: ExportDataset, writing: Writing, part: Path
) -> tuple[PlacedDataset, list[LeftOut]]:
    splits = writing.split.names
    folders = [
        {side: part / name / FORMS[name].images(side) for side in splits}
        for name in writing.formats
    ]
    for folder in {folder for below in folders for folder in below.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    images, unread = place(
        dataset.images,
        writing.split.of(dataset.images),
        folders,
        writing.files,
        max_pixels=writing.max_pixels,
        stretch=writing.stretch or dataset.stretch,
    )
    left_out = [*dataset.left_out, *unread]
    if not images:
        why = f" The first was left out: {left_out[0].reason}" if left_out else ""
        raise ExportError(f"There is no image to write.{why}")
    classes = class_names(dataset.classes, (one.image for one in images))
    placed = PlacedDataset(tuple(images), classes, splits, has_files=writing.files != "none")
    for name in writing.formats:
        FORMS[name].write(part / name, placed)
        if not placed.has_files:
            for side in splits:
                _remove_empty(part / name / FORMS[name].images(side), part)
    _write_lists(placed, left_out, part)
    _write_manifest(placed, writing, part)
    return placed, left_out


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder for images that are not written, and those around it that hold no more."""
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _write_lists(dataset: PlacedDataset, left_out: Sequence[LeftOut], folder: Path) -> None:
    header = ("file", "split", "source", "width", "height", "objects", "group")
    rows = [
        (
            one.file_name, one.split, readable(one.image.name), *one.image.size_hw[::-1],
            len(one.image.objects), one_line(one.image.group),
        )
        for one in dataset.images
    ]  # fmt: skip
    _write_table(folder / IMAGES, [header, *rows])
    if left_out:
        table = [(readable(one.name), one_line(one.reason)) for one in left_out]
        _write_table(folder / LEFT_OUT, [("source", "reason"), *table])


def _write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, "excel-tab", lineterminator="\n").writerows(rows)


def _write_manifest(dataset: PlacedDataset, writing: Writing, folder: Path) -> None:
    counts = Counter(one.split for one in dataset.images)
    manifest = {
        "description": MADE_BY,
        "version": __version__,
        "formats": list(writing.formats),
        "classes": list(dataset.classes),
        "images": {side: counts[side] for side in dataset.splits},
        "shares": list(writing.split.shares),
        "seed": writing.split.seed,
        "group_by": writing.split.group_by,
        "files": _fingerprint(folder),
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")


def _fingerprint(folder: Path) -> str:
    """A digest of all files, but for the manifest and trainers' caches.

    Of images and links it has path and size: to read them all would take as long as to write them.
    """
    digest = hashlib.sha256()
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    for path in sorted(found):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST or path.suffix == _CACHE:
            continue
        digest.update(f"{name}\n{path.lstat().st_size}\n".encode("utf-8", "surrogateescape"))
        if path.suffix in _TEXTS and path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _move(part: Path, out: Path) -> None:
    """Put what was written in the place of an older dataset, if there is one."""
    if not out.exists() or not any(out.iterdir()):
        part.replace(out)
        return
    old = part.with_name(f"{part.name}-old")
    out.rename(old)
    try:
        part.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old)


def _say(dataset: PlacedDataset, left_out: Sequence[LeftOut], writing: Writing) -> None:
    counts = Counter(one.split for one in dataset.images)
    objects = sum(len(one.image.objects) for one in dataset.images)
    empty = sum(not one.image.objects for one in dataset.images)
    sides = ", ".join(f"{counts[side]} in {side}" for side in dataset.splits)
    tell(
        f"{len(dataset.images)} images ({sides}), {empty} of them empty, with {objects} objects "
        f"of {len(dataset.classes)} classes, as {', '.join(writing.formats)}."
    )
    for side, share in zip(dataset.splits, writing.split.shares, strict=True):
        if share and not counts[side]:
            tell(f"No image is in {side}: there are too few images, or groups of them.")
    out = readable(str(writing.out))
    if left_out:
        tell(f"{len(left_out)} images are left out; {out}/{LEFT_OUT} says why.")
    tell(f"Written to {out}")
