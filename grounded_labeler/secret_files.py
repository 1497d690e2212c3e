"""Secrets that files hold, as Docker, Kubernetes and the agents of vaults hand them out."""

import logging
from pathlib import Path

logger = logging.getLogger(__name__)

_MAX_BYTES = 65_536


def read_secret(path: Path) -> str:
    """What the file holds, without the line end that editors and `echo` leave.

    Raises ValueError when it cannot be read or holds nothing: its message completes a
    sentence that begins with the file, and repeats nothing of what is in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or "no such file"
        raise ValueError(f"cannot be read: {reason}") from None
    if len(data) > _MAX_BYTES:
        raise ValueError(f"has more than {_MAX_BYTES} bytes, which is no secret")
    try:
        text = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None
    if not text.strip():
        raise ValueError("is empty")
    return text


class LiveSecret:
    """A secret as it stands now: one that a file holds is read again each time it is wanted.

    Reading takes microseconds and misses no change, however the file is replaced. While it
    cannot be read, the last secret that it held counts. Threads may share it.
    """

    def __init__(self, at_start: str | None, path: Path | None, variable: str) -> None:
        """`path`, if any, is the file that the setting `variable` names."""
        self._last, self._path, self._variable = at_start, path, variable
        self._is_warned = False

    def get(self) -> str | None:
        """The secret, None where none is set."""
        if self._path is None:
            return self._last
        try:
            self._last = read_secret(self._path)
            self._is_warned = False
        except ValueError as error:
            if not self._is_warned:
                logger.warning(
                    "The file of %s %s: what it held before is used meanwhile.",
                    self._variable, error,
                )  # fmt: skip
            self._is_warned = True
        return self._last
