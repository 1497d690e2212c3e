"""The tags of a label config, as the editor reads them, and the sentence for a bad attribute."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from xml.etree.ElementTree import Element

from grounded_labeler._text import shorten
from grounded_labeler.core.tiling import parse_tiling, tiling_text
from grounded_labeler.errors import BadRequest

Value = TypeVar("Value")

_SWITCHES = {"true": True, "false": False}


@dataclass(frozen=True)
class Tag:
    """An XML element with its name and its attributes' names in lower case."""

    kind: str
    title: str
    attributes: dict[str, str]
    element: Element

    @property
    def name(self) -> str:
        return self.attributes["name"]

    @property
    def _called(self) -> str:
        """The tag as sentences name it: a label has no name."""
        key = "name" if "name" in self.attributes else "value"
        return f'<{self.title} {key}="{shorten(self.attributes.get(key, ""))}">'

    def is_set(self, attribute: str, value: str) -> bool:
        return self.attributes.get(attribute) == value

    def read(self, attribute: str, reader: Callable[[str], Value]) -> Value | None:
        """What `reader` makes of an attribute; None when it is not there or empty.

        Raises BadRequest with the ValueError of `reader`, which completes "must be ...".
        """
        text = self.attributes.get(attribute.lower(), "").strip()
        if not text:
            return None
        try:
            return reader(text)
        except ValueError as error:
            raise BadRequest(
                f"In the label config, {self._called} has "
                f'{attribute}="{shorten(text)}", which must be {error}.'
            ) from None


def read_tag(element: Element) -> Tag:
    """Read an element: the editor compares names in lower case."""
    attributes = {key.lower(): value for key, value in element.attrib.items()}
    return Tag(element.tag.lower(), element.tag, attributes, element)


def read_switch(text: str) -> bool:
    """Read "true" or "false"; raises ValueError that completes "must be ..."."""
    if text.lower() not in _SWITCHES:
        raise ValueError("true or false")
    return _SWITCHES[text.lower()]


def read_tiling(text: str) -> str:
    """Read what the setting TILES takes; raises ValueError that completes "must be ..."."""
    return tiling_text(parse_tiling(text))


def read_fraction(text: str) -> float:
    """Read a number in [0, 1]; raises ValueError that completes "must be ..."."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:  # also refuses "nan"
        raise ValueError("a number from 0 to 1")
    return number
