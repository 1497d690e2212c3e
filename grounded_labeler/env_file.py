"""Reads a file of settings such as `.env`, by the rules of Docker Compose.

https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
python-dotenv has others: it expands `${NAME}` in single quotes, too, and no `$NAME`.

What compose 2.40 reads and this does not is refused, never read as something else: a `$` that
begins no name, `${NAME:+...}`, `${NAME:?...}`, a default with braces or variables in it, text after
a closing quote, a line that begins with `=`, bytes that are not UTF-8. Line ends inside quotes are
the one difference that is not: of CR LF the LF is left.
"""

import re
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import cast

_MAX_BYTES = 1_000_000

_BLANK = r"[^\S\n]"  # blanks, but no line end
_NOTHING = re.compile(r"(?:\s|(?<!\S)#[^\n]*)*")
# A name without `=` is one that compose takes from the environment, where it is already.
_NAME = re.compile(rf"(?:export{_BLANK}+)?([\w.\[\]-]+){_BLANK}*(?:([=:]){_BLANK}*|(?=\n|\Z))")
_QUOTED = {
    quote: re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}{_BLANK}*(?:#[^\n]*)?(?=\n|\Z)", re.S)
    for quote in "'\""
}
_LINE = re.compile(r"[^\n]*")
_ESCAPE = re.compile(r"\\([abfnrtv\\$])")
_ESCAPED = dict(zip("abfnrtv\\", "\a\b\f\n\r\t\v\\", strict=True)) | {"$": "$$"}
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Z_]\w*)|\{([A-Z_]\w*)(?:(:?)-([^{}$]*))?\})", re.I | re.A)


def read_env_file(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the file sets; `environ` is where `$NAME` is looked up first.

    Raises ValueError for a file that cannot be read: its message completes a sentence that
    begins with the file, and repeats no value.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise ValueError(f"has more than {_MAX_BYTES} bytes: it is no file of settings")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None
    if "\0" in text:  # which no variable can hold
        raise ValueError("is not text: it has a byte 0 in it")
    return parse_env(text, environ)


def parse_env(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that `text` sets, the last one of each name; raises ValueError."""
    text = text.replace("\r\n", "\n")
    values: dict[str, str] = {}
    known = ChainMap(cast(dict[str, str], environ), values)
    at = _end_of(_NOTHING, text, 0)
    while at < len(text):
        named = _NAME.match(text, at)
        if named is None:
            raise ValueError(f"has no NAME=value in line {_line(text, at)}")
        at = named.end()
        if named[2] is not None:
            try:
                values[named[1]], at = _value(text, at, known)
            except ValueError as error:
                line = _line(text, named.start())
                raise ValueError(f"cannot be read in line {line}, {named[1]}: {error}") from None
        at = _end_of(_NOTHING, text, at)
    return values


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _value(text: str, at: int, known: Mapping[str, str]) -> tuple[str, int]:
    """Return the value that begins at `at`, and where it ends."""
    quote = text[at : at + 1]
    if quote not in _QUOTED:
        end = _end_of(_LINE, text, at)
        plain = text[at:end].partition(" #")[0].rstrip()
        return _expanded(plain, known), end
    quoted = _QUOTED[quote].match(text, at)
    if quoted is None:
        raise ValueError(f"the value that begins with {quote} must end with it, with nothing after")
    value = quoted[1].replace(f"\\{quote}", quote)
    if quote == '"':
        value = _ESCAPE.sub(lambda found: _ESCAPED[found[1]], value)
        value = _expanded(value, known)
    return value, quoted.end()


def _expanded(value: str, known: Mapping[str, str]) -> str:
    """Put in the variables that `value` names; those that are not set are empty."""

    def put(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        is_set = (found[2] or found[3]) in known
        inside = known.get(found[2] or found[3], "")
        is_wanting = not inside if found[4] else not is_set
        return found[5] if found[5] is not None and is_wanting else inside

    if "$" in _VARIABLE.sub("", value):
        raise ValueError("put a value with a $ of its own into single quotes")
    return _VARIABLE.sub(put, value)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
