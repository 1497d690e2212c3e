"""What a label config lacks for this service, written into it; the rest stays as it is."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from grounded_labeler._text import shorten
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import can_draw, read_label_config
from grounded_labeler.label_studio.config_edit import with_attributes
from grounded_labeler.label_studio.config_elements import ConfigElement, read_elements
from grounded_labeler.label_studio.config_settings import (
    PROMPT,
    STATUS,
    prompt_field,
    search_tool,
)

_DRAWING = ("rectangle", "brush", "bitmask", "polygon", "vector")
_LABELLED = frozenset(f"{name}labels" for name in (*_DRAWING, "keypoint")) | {"labels"}
_WITH_LABELS = _LABELLED - {"keypointlabels"}
_SMART = frozenset({"rectanglelabels", "keypointlabels"})
# https://labelstud.io/tags: what shows something that is not an image.
_OTHER_OBJECTS = frozenset(
    {"audio", "audioplus", "chat", "hypertext", "list", "paragraphs", "pdf", "table", "text",
     "timeseries", "video"}
)  # fmt: skip
_EMPTY = "<View>\n</View>"
_CLOSES = re.compile(rb"\s*(/?)>")
_LINE_END = re.compile(rb"\n[ \t]*$")


@dataclass(frozen=True)
class Additions:
    """What a config shall have.

    Attributes:
        labels: names that every labelled drawing tag of the image has.
        with_masks: whether a segmenter runs, which makes masks and answers smart tools.
        data_key: what tasks call their image, for a config that shows nothing yet.
    """

    labels: Sequence[str] = ()
    with_masks: bool = False
    data_key: str = "image"


def complete_config(xml: str, additions: Additions) -> str:
    """Return the label config `xml` with what this service needs, and else byte for byte the same.

    Added are, where they are missing: the image (in a config that shows nothing), the prompt's
    `<TextArea>`, the status line, `<RectangleLabels>` and with masks `<BrushLabels>` where nothing
    can be drawn, the labels, and smart="true" for boxes and key points. Of several images the first
    that can be drawn on is completed. Tags with model_skip="true" count as not there.

    Raises BadRequest for a config that shows something else than images, for one without labels
    where none are given, and for what `read_label_config` cannot read.
    """
    text = xml.strip() or _EMPTY
    data = text.encode()
    elements = read_elements(text)
    if elements[0].kind != "view":
        raise BadRequest("The label config must begin with <View>, with all other tags in it.")
    taken = {one.name for one in elements}
    ours = [one for one in elements if one.attributes.get("model_skip") != "true"]
    images = [one for one in ours if one.kind == "image" and one.name]
    if not images:
        edits = [_whole(data, elements, additions, taken)]
    else:
        image = next((one for one in images if _is_drawn_on(one, ours)), images[0])
        own = [one for one in ours if image.name in one.images]
        edits = [*_fields(data, own, image, taken)]
        if not _is_drawn_on(image, ours):
            lines = _control_lines(image.name, additions, taken)
            edits.append(_after(data, image, lines))
        elif additions.labels and not any(one.kind in _WITH_LABELS for one in own):
            lines = _labels_lines("Labels", _free("labels", taken), image.name, additions.labels)
            edits.append(_after(data, image, lines))
        edits += [edit for one in own for edit in _mended(data, one, additions)]
    added = _applied(data, edits).decode()
    read_label_config(added)
    return added


def _is_drawn_on(image: ConfigElement, elements: Sequence[ConfigElement]) -> bool:
    own = [one.tag for one in elements if image.name in one.images and one.name]
    search = search_tool([tag for tag in own if tag.kind == "rectangle"])
    return any(can_draw(tag) and tag is not search for tag in own)


_Edit = tuple[int, int, bytes]  # from and to where in the text, and what comes in its place


def _whole(
    data: bytes, elements: Sequence[ConfigElement], additions: Additions, taken: set[str]
) -> _Edit:
    """All tags, at the end of a config that shows nothing."""
    other = next((one for one in elements if one.kind in _OTHER_OBJECTS), None)
    if other is not None:
        shown = shorten(other.attributes.get("value", ""))
        raise BadRequest(
            f'This is no project of images: its label config shows <{other.kind} value="{shown}">, '
            "and no <Image>."
        )
    lines = [
        _prompt(PROMPT, "image"),
        _status("image"),
        f'<Image name="image" value={quoteattr(f"${additions.data_key}")}/>',
        *_control_lines("image", additions, taken),
    ]
    root = elements[0]
    _, begin, is_empty = _start_tag(data, root)
    inside = "".join(f"\n  {line}" for line in lines)
    if is_empty:
        tag = data[root.start : begin].rstrip(b"/>").rstrip()
        return root.start, begin, tag + f">{inside}\n</".encode() + _title(data, root) + b">"
    place = _before_line(data, root.close)
    tail = "" if data[place : place + 1] == b"\n" else "\n"
    return place, place, f"{inside}{tail}".encode()


def _fields(
    data: bytes, own: Sequence[ConfigElement], image: ConfigElement, taken: set[str]
) -> Iterable[_Edit]:
    lines = []
    if prompt_field([one.tag for one in own if one.kind == "textarea" and one.name]) is None:
        lines.append(_prompt(_free(PROMPT, taken), image.name))
    if STATUS not in taken:
        lines.append(_status(image.name))
    if lines:
        glue = "\n" + _indent(data, image.start)
        yield image.start, image.start, "".join(f"{line}{glue}" for line in lines).encode()


def _after(data: bytes, image: ConfigElement, lines: Sequence[str]) -> _Edit:
    end = _end(data, image)
    glue = "\n" + _indent(data, image.start)
    return end, end, "".join(f"{glue}{line}" for line in lines).encode()


def _mended(data: bytes, one: ConfigElement, additions: Additions) -> Iterable[_Edit]:
    """A labelled tag with the labels that it lacks, and smart where that is of use."""
    if one.kind not in _LABELLED:
        return
    smart = (
        additions.with_masks
        and one.kind in _SMART
        and not one.attributes.keys() & {"smart", "smartonly"}
    )
    begin, end, is_empty = _start_tag(data, one)
    tag = data[one.start : begin]
    if smart:
        _, tag = with_attributes(data, one.start, {"smart": "true"})
    is_dynamic = one.attributes.get("value", "").startswith("$")
    missing = [] if is_dynamic else [name for name in additions.labels if name not in one.labels]
    inner = "\n" + _indent(data, one.start) + "  "
    labels = "".join(f"{inner}{_label(name)}" for name in missing).encode()
    if is_empty and missing:
        close = f"\n{_indent(data, one.start)}</".encode() + _title(data, one) + b">"
        yield one.start, end, tag + b">" + labels + close
        return
    if smart:
        yield one.start, begin, tag
    if missing:
        place = _before_line(data, one.close)
        if data[place : place + 1] == b"\n":
            yield place, place, labels
        else:  # all in one line, as it is
            yield one.close, one.close, "".join(map(_label, missing)).encode()


def _control_lines(image: str, additions: Additions, taken: set[str]) -> list[str]:
    if not additions.labels:
        raise BadRequest(
            "The project has no labels to draw with: name some, as --labels Car,Person."
        )
    lines = []
    smart = ' smart="true"' if additions.with_masks else ""
    for tag, name, more in (("RectangleLabels", "boxes", smart), ("BrushLabels", "masks", "")):
        if tag == "BrushLabels" and not additions.with_masks:
            continue
        lines += _labels_lines(tag, _free(name, taken), image, additions.labels, more)
    return lines


def _labels_lines(
    tag: str, name: str, image: str, labels: Sequence[str], more: str = ""
) -> list[str]:
    start = f"<{tag} name={quoteattr(name)} toName={quoteattr(image)}{more}>"
    return [start, *(f"  {_label(label)}" for label in labels), f"</{tag}>"]


def _prompt(name: str, image: str) -> str:
    mark = "" if name == PROMPT else ' model_prompt="true"'
    return (
        f'<TextArea name={quoteattr(name)} toName={quoteattr(image)}{mark} editable="true" '
        'rows="2" maxSubmissions="1" showSubmitButton="true"/>'
    )


def _status(image: str) -> str:
    return (
        f'<TextArea name="{STATUS}" toName={quoteattr(image)} smart="false" rows="1" '
        'maxSubmissions="1"/>'
    )


def _label(name: str) -> str:
    return f"<Label value={quoteattr(name)}/>"


def _free(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}{number}", number + 1
    return free


def _start_tag(data: bytes, one: ConfigElement) -> tuple[int, int, bool]:
    """Where the attributes of a start tag end, where the tag does, and whether it closes itself."""
    end, _ = with_attributes(data, one.start, {})
    closing = _CLOSES.match(data, end)
    assert closing is not None  # expat has read it
    return end, closing.end(), bool(closing[1])


def _end(data: bytes, one: ConfigElement) -> int:
    _, end, is_empty = _start_tag(data, one)
    return end if is_empty else data.index(b">", one.close) + 1


def _title(data: bytes, one: ConfigElement) -> bytes:
    """Its name as it is written."""
    return data[one.start + 1 : one.start + 1 + len(one.kind.encode())]


def _indent(data: bytes, place: int) -> str:
    """What stands before a tag in its line, where that is space alone."""
    line = data[data.rfind(b"\n", 0, place) + 1 : place]
    return line.decode() if not line.strip() else ""


def _before_line(data: bytes, place: int) -> int:
    """The end of the line before the one that begins, after spaces, at `place`."""
    found = _LINE_END.search(data, max(0, data.rfind(b"\n", 0, place)), place)
    return place if found is None else found.start()


def _applied(data: bytes, edits: Iterable[_Edit]) -> bytes:
    pieces, done = [], 0
    for begin, end, new in sorted(edits, key=lambda edit: edit[:2]):
        pieces += [data[done:begin], new]
        done = end
    return b"".join([*pieces, data[done:]])
