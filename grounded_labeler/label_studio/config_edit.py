"""Attributes written into a label config whose text stays as it is everywhere else."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from grounded_labeler._text import shorten
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import read_label_config

_DIGITS = 4
_MAX_NAMED = 300  # characters of a list of labels

# In a start tag, whose form expat has checked: its name, and each of its attributes.
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")


@dataclass(frozen=True)
class LabelEdit:
    """What the `<Label>` tags of a label get; None leaves an attribute as it is.

    `score_threshold` is in [0, 1]; it is written with two to four digits, the rest cut off, so
    that a score which reaches it still does.
    """

    score_threshold: float | None = None
    prompt: str | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """Their names and texts, in the order they are written."""
        made = {} if self.prompt is None else {"prompt": self.prompt}
        if self.score_threshold is not None:
            made["score_threshold"] = _number(self.score_threshold)
        return made


@dataclass(frozen=True)
class ConfigEdits:
    """What a label config gets: its labels, by the value they are saved with, and its prompt field.

    None leaves a model to the service, or as it is.
    """

    labels: Mapping[str, LabelEdit] = field(default_factory=dict)
    detector: str | None = None
    segmenter: str | None = None

    @property
    def models(self) -> dict[str, str]:
        """The attributes of the prompt field."""
        names = {"detector": self.detector, "segmenter": self.segmenter}
        return {name: text for name, text in names.items() if text is not None}


def edit_config(xml: str, edits: ConfigEdits) -> str:
    """Return the label config `xml` with these attributes, and otherwise byte for byte the same.

    All `<Label>` tags that save regions with a label's value get its attributes, in whatever
    control tag they stand; all prompt fields get the models. An attribute that is there gets
    another text in its place, in whatever case its name is written; a new one comes last.

    Raises BadRequest for what `read_label_config` cannot read, before or after, for a label that
    is not there, and for models where no prompt field is.
    """
    config = read_label_config(xml)
    prompts = {(target.prompt_name, target.name) for target in config.images}
    begin = len(xml) - len(xml.lstrip())  # which an XML declaration must not stand behind
    data = xml[begin:].encode()
    pieces: list[bytes] = []
    done, missing, has_field = 0, set(edits.labels), False
    for place, kind, attributes in _start_tags(xml[begin:]):
        new: Mapping[str, str] = {}
        if kind == "label":
            value = attributes.get("alias") or attributes.get("value", "")
            new = edits.labels[value].attributes if value in edits.labels else {}
            missing.discard(value)
        elif kind == "textarea":
            images = [part.strip() for part in attributes.get("toname", "").split(",")]
            if any((attributes.get("name"), image) in prompts for image in images):
                new, has_field = edits.models, True
        if new:
            end, tag = with_attributes(data, place, new)
            pieces += [data[done:place], tag]
            done = end
    if missing:
        names = shorten(", ".join(f'"{shorten(name)}"' for name in sorted(missing)), _MAX_NAMED)
        raise BadRequest(f"The label config has no <Label> that is saved as {names}.")
    if edits.models and not has_field:
        raise BadRequest(
            "The label config has no prompt field to choose models with: add "
            '<TextArea name="prompt" toName="..."/>.'
        )
    edited = xml[:begin] + b"".join([*pieces, data[done:]]).decode(errors="surrogatepass")
    read_label_config(edited)  # a prompt may hold what no XML can
    return edited


def diff(before: str, after: str) -> str:
    """Return what differs between two label configs, line by line, as `diff -u` has it."""
    lines = difflib.unified_diff(
        before.splitlines(),
        after.splitlines(),
        "label config",
        "label config, edited",
        lineterm="",
        n=1,
    )
    return "\n".join(lines)


def _start_tags(xml: str) -> list[tuple[int, str, dict[str, str]]]:
    """Where each element begins in the text's UTF-8 bytes, its name and its attributes.

    The names are in lower case, as the editor compares them.
    """
    found: list[tuple[int, str, dict[str, str]]] = []

    def note(name: str, attributes: dict[str, str]) -> None:
        own = {key.lower(): text for key, text in attributes.items()}
        found.append((parser.CurrentByteIndex, name.lower(), own))

    parser = expat.ParserCreate()
    parser.StartElementHandler = note
    parser.Parse(xml, True)
    return found


def with_attributes(data: bytes, place: int, new: Mapping[str, str]) -> tuple[int, bytes]:
    """The start tag at `place` with these attributes, and where its own attributes end."""
    name = _TAG_NAME.match(data, place)
    assert name is not None  # expat has found a tag there
    pieces, end = [name[0]], name.end()
    left = dict(new)
    present = set()
    while attribute := _ATTRIBUTE.match(data, end):
        key = attribute[1].decode().lower()
        if key in left:
            present.add(key)
            start = attribute.start(2) - attribute.start()
            pieces.append(attribute[0][:start] + _quoted(left[key]))
        else:
            pieces.append(attribute[0])
        end = attribute.end()
    pieces += [f" {key}=".encode() + _quoted(left[key]) for key in left if key not in present]
    return end, b"".join(pieces)


def _quoted(text: str) -> bytes:
    # quoteattr keeps line ends and tabs by their numbers, which a reader makes spaces else.
    return quoteattr(text).encode(errors="surrogatepass")


def _number(value: float) -> str:
    """With two to four digits, the rest cut off; what a float lacks of its number is none."""
    if not 0 <= value <= 1:
        raise ValueError(f"score_threshold must be in [0, 1], got {value}")
    steps = math.floor(value * 10**_DIGITS + 0.01)
    text = f"{steps / 10**_DIGITS:.{_DIGITS}f}"
    return text[:-2] + text[-2:].rstrip("0")
