"""Files that are never there in part."""

from pathlib import Path


def write_whole(path: Path, text: str, *, newline: str | None = None) -> None:
    """Write a file so that whoever reads it finds all of it, or what was there before.

    `newline` is what lines end with, as `open` has it.
    """
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8", newline=newline)
    new.replace(path)
