"""Only one process at a time writes to a folder of models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from grounded_labeler.console import tell


@contextmanager
def locked(folder: Path, awaited: str) -> Iterator[None]:
    """While open, no other process opens it for `folder`, which is made if need be.

    Whoever has to wait is told what for: `awaited` completes "waiting for". Raises OSError where
    the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", preserve_lock_file=True)
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        tell(f"{folder}: waiting for {awaited}")
        held = lock.acquire()
    with held:
        yield
