"""Text for sentences and log lines."""

import math


def shorten(text: str, most: int = 60) -> str:
    """Cut `text` to its first `most` characters and an ellipsis, if it is longer."""
    return text if len(text) <= most else f"{text[:most]}…"


def one_line(text: str) -> str:
    """Write what is not printable by its number: a stranger's text must not look like ours.

    Example:
        >>> print(one_line("a\\nb\\x1b[31m"))
        a\\nb\\x1b[31m
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def fits_in_header(token: str) -> bool:
    """Whether a token can be sent: what says of another that it cannot would repeat it."""
    return token.isascii() and token.isprintable() and " " not in token


def rounded_down(score: float) -> str:
    """A score to show: rounded down, lest it look like a threshold that it did not reach."""
    return f"{math.floor(score * 100 + 1e-5) / 100:.2f}"
