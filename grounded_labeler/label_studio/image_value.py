"""The `value` of an <Image> tag: an address, or variables that each task fills in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from grounded_labeler._text import shorten
from grounded_labeler.errors import NoImage

# What the editor takes for a variable, and how it finds its value: `parseValue` in
# https://github.com/HumanSignal/label-studio/blob/develop/web/libs/editor/src/utils/data.js
_VARIABLE = re.compile(r"\$([\w\[\].{}]+)", re.ASCII)
_STEP = re.compile(r"[^.\[\]]+")
# Label Studio itself takes all that follows the $ for the key; the editor does not.
_KEY = re.compile(r"\$([^, ]+)")
_ADDRESS = re.compile(r"/|[a-z][a-z0-9+-]*://|data:", re.IGNORECASE)
_LIST = re.compile(r",\s*\$")
_MAX_DIGITS = 9  # of a place in a list


@dataclass(frozen=True)
class ImageValue:
    """What an <Image> tag has as its `value`.

    "$image", "$images[0]", "$pages[0].url", "$base/x.jpg" or "http://host/$name".
    """

    text: str

    @property
    def name(self) -> str:
        """The key of a lone variable, "images[0]" say, else the text as it is."""
        key = _KEY.fullmatch(self.text)
        return key[1] if key else self.text

    def address(self, data: Mapping[str, Any]) -> str:
        """Fill in a task's `data` and return the image's address.

        Raises NoImage with half a sentence when it has none.
        """
        if self._is_of_one_key(data):
            return self._one(data[self.name])
        if (variable := _VARIABLE.fullmatch(self.text)) is not None:
            return self._one(_value_at(data, variable[1]))
        return _VARIABLE.sub(lambda found: self._part(_value_at(data, found[1])), self.text)

    def is_in(self, data: Mapping[str, Any]) -> bool:
        """Whether a task's `data` has the keys that the variables begin with."""
        variables = [found[1] for found in _VARIABLE.finditer(self.text)]
        return self._is_of_one_key(data) or all(
            variable in data or _steps(variable)[0] in data for variable in variables
        )

    def _is_of_one_key(self, data: Mapping[str, Any]) -> bool:
        return self.text.startswith("$") and self.name in data

    def _one(self, value: object) -> str:
        if isinstance(value, str) and value:
            return value
        name = shorten(self.name)
        if isinstance(value, list) and value:
            raise NoImage(f'a list under the key "{name}": the label config must say "${name}[0]"')
        raise NoImage(f'no image under the key "{name}"')

    def _part(self, value: object) -> str:
        """What becomes part of an address: texts and numbers, as JavaScript writes them."""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value).removesuffix(".0")
        raise NoImage(f'no image: its data cannot fill in "{shorten(self.text)}"')


def read_images(root: Element) -> tuple[list[tuple[str, ImageValue]], str]:
    """Find the names and values of a label config's <Image> tags, in document order.

    The text is a sentence about one of a kind that is not read, empty if there is none.
    Tags with model_skip="true" are left out.
    """
    repeated = {id(element) for element in root.iter() if _kind(element) == "repeater"
                for element in element.iter()}  # fmt: skip
    images: list[tuple[str, ImageValue]] = []
    unread = ""
    for element in root.iter():
        attributes = {key.lower(): value for key, value in element.attrib.items()}
        name, text = attributes.get("name", ""), attributes.get("value", "")
        if _kind(element) != "image" or not name or attributes.get("model_skip") == "true":
            continue
        if id(element) in repeated:
            unread = unread or _repeated(name)
        elif "valuelist" in attributes:  # which the editor prefers to a value
            unread = unread or _several(name, attributes["valuelist"])
        elif _is_readable(text):
            images.append((name, ImageValue(text)))
    return images, unread


def _kind(element: Element) -> str:
    return element.tag.lower()


def _is_readable(text: str) -> bool:
    """Whether it is not a plain word, whose $ was forgotten, or a list of variables."""
    has_variable = _KEY.fullmatch(text) or _VARIABLE.search(text)
    return bool(has_variable or _ADDRESS.match(text)) and not _LIST.search(text)


def _several(name: str, values: str) -> str:
    key = shorten(values) or "$images"
    return (
        f'<Image name="{shorten(name)}"> shows several images, valueList="{key}", which this '
        f'service does not read: use a tag for each of them, <Image value="{key}[0]"/>, '
        f'<Image value="{key}[1]"/>.'
    )


def _repeated(name: str) -> str:
    return (
        f'<Image name="{shorten(name)}"> is repeated by a <Repeater>, which this service does '
        f'not read: use a tag for each image, <Image value="$images[0]"/>, '
        f'<Image value="$images[1]"/>.'
    )


def _steps(path: str) -> list[str]:
    return _STEP.findall(path) or [path]


def _value_at(data: Mapping[str, Any], path: str) -> object:
    """The value at `path`, "pages[0].url" say; None when there is none."""
    if path in data:
        return data[path]
    value: object = data
    for step in _steps(path):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and _is_place(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _is_place(step: str) -> bool:
    return (
        step.isascii() and step.isdecimal() and len(step) <= _MAX_DIGITS and step == str(int(step))
    )
