"""What images are called: in a dataset, each by its own name, and where people read of them."""

import base64
import mimetypes
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

# What the command writes into --out.
JOURNAL, DATASET, FAILURES, SHEET = "journal.sqlite3", "coco.json", "failures.tsv", "sheet.jpg"
# With --group-duplicates: what tells near-duplicates, and which tasks are some.
EMBEDDINGS, GROUPS = "embeddings.sqlite3", "groups.json"
GROUP_KEY = "group"  # of a task's data
GROUP_PREFIX = "near-duplicates-of-"  # what a group's name begins with; then comes its first task
LOG = "log.txt"  # what the service would log
SHEET_NOTE = b"Contact sheet of grounded-labeler"  # told from an image by this, in a later run

_CLOUD = ("s3", "gs", "azure-blob")
_RESOLVE = re.compile(r"/(tasks|projects)/\d+/(resolve|presign)/?$")
_UPLOAD = re.compile(r"^.*/data/(?=upload/)")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_BYTES = 255  # of one part of a path, as file systems have it


def readable(name: str) -> str:
    r"""Write a file name so that it can be printed, on one line, and told from every other.

    Bytes that are not UTF-8 become `\xe9`, control characters `\u000a`, and so a
    backslash is written twice.
    """
    data = name.encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\")
    return one_line(data.decode("utf-8", "backslashreplace"))


def one_line(text: str) -> str:
    """Write control characters and line breaks as escapes."""
    return _BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@dataclass(frozen=True)
class Address:
    """What a task calls the image that the label config calls `target`."""

    task: int | str
    target: str
    uri: str


def file_names(addresses: Iterable[Address]) -> list[str]:
    """Name each image for a dataset: a relative path, without query, and each name once.

    Of a name that an earlier image has, the later one gets its task into it.
    """
    taken: set[str] = set()
    names = []
    for address in addresses:
        name = _name(address)
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - of a path that is no file's
        endings = (f"-task-{address.task}", f"-{address.target}")
        number = 1
        while name in taken:
            stem += endings[number - 1] if number <= len(endings) else f"-{number}"
            name = f"{stem}{suffix}"
            number += 1
        taken.add(name)
        names.append(name)
    return names


def _name(address: Address) -> str:
    if address.uri.lower().startswith("data:"):
        media_type = re.split("[;,]", address.uri[5:100], maxsplit=1)[0].strip().lower()
        return f"task-{address.task}{mimetypes.guess_extension(media_type) or ''}"
    parts = [part for part in _path(address.uri).split("/") if part not in {"", ".", ".."}]
    if not parts or any(len(part.encode("utf-8", "replace")) > _LONGEST_BYTES for part in parts):
        return f"task-{address.task}"
    return "/".join(parts)


def _path(uri: str) -> str:
    """The path that an address names: of a file that Label Studio serves, its own path."""
    scheme, mark, rest = uri.partition("://")
    if mark and scheme.lower() in _CLOUD:
        return rest.partition("/")[2]  # a key may hold any character, with no meaning
    try:
        split = urlsplit(uri)
    except ValueError:  # no URL; it is told among the failures, where it could not be fetched
        return ""
    return _served(split) or _UPLOAD.sub("", unquote(split.path))


def _served(split: SplitResult) -> str:
    """The file that a route of Label Studio names in its query; empty for other addresses."""
    query = parse_qs(split.query)
    path = split.path.rstrip("/")
    if path.endswith("/data/local-files"):
        return query.get("d", [""])[-1].replace("\\", "/")
    if path.endswith("/storage-data/uploaded"):
        return query.get("filepath", [""])[-1]
    if _RESOLVE.search(split.path) and "fileuri" in query:
        try:
            return _path(base64.urlsafe_b64decode(query["fileuri"][-1]).decode())
        except ValueError:  # no base64, or no text
            return "/"
    return ""
