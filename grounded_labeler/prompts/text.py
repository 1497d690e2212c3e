"""Any text as bytes, and back as it was: servers' own texts cannot hold all of Python's."""


def encode(text: str) -> bytes:
    """`text` in UTF-8, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """What `encode` was given; UnicodeDecodeError for what it did not make."""
    return data.decode("utf-8", "surrogatepass")
