"""Text for sentences and log lines."""


def shorten(text: str, most: int = 60) -> str:
    """Cut `text` to its first `most` characters and an ellipsis, if it is longer."""
    return text if len(text) <= most else f"{text[:most]}…"
