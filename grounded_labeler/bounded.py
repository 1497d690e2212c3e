"""What strangers fill or write must have an end."""

from typing import TypeVar

Value = TypeVar("Value")


def keep(known: dict[str, Value], key: str, value: Value, most: int) -> None:
    """Make `value` the newest of `known`, which forgets the oldest beyond `most` entries."""
    known.pop(key, None)
    if len(known) >= most:
        known.pop(next(iter(known)), None)
    known[key] = value


def shorten(text: str, most: int = 60) -> str:
    """`text`, or its first `most` characters and an ellipsis: for sentences and log lines."""
    return text if len(text) <= most else f"{text[:most]}…"
