"""Label Studio's label config, XML, to what a project can draw."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DTDForbidden  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from grounded_labeler.bounded import shorten
from grounded_labeler.errors import BadRequest
from grounded_labeler.image_value import ImageValue, read_images
from grounded_labeler.targets import (
    Control,
    Geometry,
    ImageTarget,
    Label,
    LabelConfig,
    Overrides,
    TaskLabels,
)
from grounded_labeler.task_labels import VARIABLE, make_label, merged

Value = TypeVar("Value")

_MAX_CHARACTERS = 1_000_000  # thousands of labels; what is cached must have a bound

_MAX_TAGS = 50
_MAX_DIGITS = 9  # of a number of regions

# Tag names are compared in lower case, as the editor does; a result's `type` is
# the tag's name in lower case.
_LABELLED: dict[str, Geometry] = {
    "rectanglelabels": "box",
    "brushlabels": "brush",
    "polygonlabels": "polygon",
}
_BARE: dict[str, Geometry] = {"rectangle": "box", "brush": "brush", "polygon": "polygon"}
_GEOMETRIES = _LABELLED | _BARE
_USABLE = (
    "<RectangleLabels>, <BrushLabels>, <PolygonLabels>, "
    "or <Rectangle>, <Brush>, <Polygon> with <Labels>"
)


@dataclass(frozen=True)
class _Tag:
    """An XML element with its name and its attributes' names in lower case."""

    kind: str
    title: str
    attributes: dict[str, str]
    element: Element

    @property
    def name(self) -> str:
        return self.attributes["name"]

    def is_set(self, attribute: str, value: str) -> bool:
        return self.attributes.get(attribute) == value


# Of a tag with labels: those it has, and those that tasks bring.
_LabelsOf = dict[Element, tuple[tuple[Label, ...], tuple[TaskLabels, ...]]]


def read_label_config(xml: object) -> LabelConfig:
    """Read a project's label config; results are cached, since every request brings it.

    `xml` is whatever the request holds. Raises BadRequest when it is not a config,
    or one this service cannot draw anything with.
    """
    if not isinstance(xml, str) or not xml.strip():
        raise BadRequest("The request has no label config: set one under Labeling Interface.")
    if len(xml) > _MAX_CHARACTERS:
        raise BadRequest(f"The label config has more than {_MAX_CHARACTERS:,} characters.")
    return _read(xml.strip())


@lru_cache(maxsize=256)
def _read(xml: str) -> LabelConfig:
    # The SDK's LabelInterface is not used: it resolves entities, keeps only one of
    # two equal labels and takes half a second to import. The tests compare with it.
    try:
        root = fromstring(xml, forbid_dtd=True)
    except DTDForbidden:
        raise BadRequest("The label config has a <!DOCTYPE> declaration: remove it.") from None
    except (ParseError, UnicodeError) as error:
        raise BadRequest(f"The label config is not valid XML: {error}.") from None
    every = list(map(_tag, root.iter()))
    tags = [tag for tag in every if not tag.is_set("model_skip", "true")]
    images, unread = read_images(root)
    drawing = [tag for tag in tags if tag.kind in _GEOMETRIES or tag.kind == "labels"]
    # Each image is compared with each tag, and each tag may hold all labels.
    if len(images) > _MAX_TAGS or len(drawing) > _MAX_TAGS:
        raise BadRequest(f"The label config has more than {_MAX_TAGS} images or control tags.")
    if not images:
        if unread:
            raise BadRequest(unread)
        if any(tag.kind == "image" and tag not in tags for tag in every):
            raise BadRequest(
                'The label config has no <Image> tag that is not marked model_skip="true".'
            )
        raise BadRequest('The label config has no <Image> tag such as <Image value="$image"/>.')
    # Read once, whatever number of controls and images share them.
    labels = {
        tag.element: (merged(_labels(tag)), tuple(dict.fromkeys(_task_labels(tag))))
        for tag in drawing
    }
    targets = tuple(
        target for name, value in images if (target := _target(name, value, tags, labels))
    )
    if not targets:
        names = ", ".join(f'"{name}"' for name, _ in images)
        skipped = [tag for tag in every if tag.kind in _GEOMETRIES and tag not in tags]
        if any(set(_targets(tag)) & {name for name, _ in images} for tag in skipped):
            raise BadRequest(
                f'All tags that could draw on image {names} are marked model_skip="true", which '
                f"has this service leave them alone: take it out of {_named(skipped)}."
            )
        raise BadRequest(
            unread
            or f"The label config has no tag to draw with on image {names}: add one of {_USABLE}, "
            "with the image's name as its toName."
        )
    return LabelConfig(targets)


def _named(tags: list[_Tag]) -> str:
    return " or ".join(
        f'<{tag.title} name="{shorten(tag.attributes.get("name", ""))}">' for tag in tags[:3]
    )


def _tag(element: Element) -> _Tag:
    attributes = {key.lower(): value for key, value in element.attrib.items()}
    return _Tag(element.tag.lower(), element.tag, attributes, element)


def _target(
    name: str, value: ImageValue, tags: list[_Tag], labels: _LabelsOf
) -> ImageTarget | None:
    """The image called `name` with all that points at it; None when nothing can draw on it."""
    own = [tag for tag in tags if tag.attributes.get("name") and name in _targets(tag)]
    drawing = [tag for tag in own if tag.kind in _GEOMETRIES]
    if not drawing:
        return None
    labels_tags = [tag for tag in own if tag.kind == "labels"]
    controls = tuple(
        control for tag in drawing for control in _controls(tag, name, labels_tags, labels)
    )
    different = {id(control.labels): control.labels for control in controls}.values()
    textareas = [tag for tag in own if tag.kind == "textarea"]
    names = [tag.name for tag in textareas]
    return ImageTarget(
        name=name,
        value=value,
        controls=controls,
        labels=merged(label for several in different for label in several),
        prompt_name=_prompt_name(textareas),
        status_name="status" if "status" in names else None,
        overrides=_overrides(drawing + labels_tags, [tag for tag in own if tag.kind == "number"]),
    )


def _targets(tag: _Tag) -> list[str]:
    return [part.strip() for part in tag.attributes.get("toname", "").split(",")]


def _controls(
    tag: _Tag, image: str, labels_tags: list[_Tag], labels: _LabelsOf
) -> Iterator[Control]:
    for owner in labels_tags if tag.kind in _BARE and labels_tags else [tag]:
        yield Control(
            name=tag.name,
            to_name=image,
            geometry=_GEOMETRIES[tag.kind],
            result_type=tag.kind,
            labels_name=owner.name,
            labels=labels[owner.element][0],
            task_labels=labels[owner.element][1],
        )


def _labels(owner: _Tag) -> Iterator[Label]:
    for tag in _label_tags(owner):
        if not VARIABLE.fullmatch(tag.attributes.get("value", "")):
            yield _label(tag)


def _task_labels(owner: _Tag) -> Iterator[TaskLabels]:
    if match := VARIABLE.fullmatch(owner.attributes.get("value", "")):
        yield TaskLabels(match[1])
    for tag in _label_tags(owner):
        if match := VARIABLE.fullmatch(tag.attributes.get("value", "")):
            own = _label(tag)
            # Its other name is "$brand", which nobody reads or asks for.
            means = tuple(name for name in own.predicted_values if name != match[0])
            prompt = None if own.prompt == match[0] else own.prompt
            yield TaskLabels(match[1], replace(own, predicted_values=means, prompt=prompt))


def _label_tags(owner: _Tag) -> Iterator[_Tag]:
    for tag in map(_tag, owner.element.iter()):
        if tag.kind == "label" and (tag.attributes.get("value") or tag.attributes.get("alias")):
            yield tag


def _label(tag: _Tag) -> Label:
    names = ("value", "alias", "predicted_values", "prompt")
    return make_label(*(tag.attributes.get(name, "") for name in names))


def _prompt_name(textareas: list[_Tag]) -> str | None:
    if any(tag.name == "prompt" for tag in textareas):
        return "prompt"
    candidates = (
        tag.name
        for tag in textareas
        if tag.name != "status"
        and not tag.is_set("perregion", "true")
        and not tag.is_set("smart", "false")
    )
    return next(candidates, None)


def _overrides(controls: list[_Tag], numbers: list[_Tag]) -> Overrides:
    def number_field(name: str) -> list[tuple[_Tag, str]]:
        return [(tag, "defaultValue") for tag in numbers if tag.name == name]

    def attribute(name: str) -> list[tuple[_Tag, str]]:
        return [(tag, name) for tag in controls]

    return Overrides(
        box_threshold=_first(
            number_field("box_threshold") + attribute("model_score_threshold"), _fraction
        ),
        text_threshold=_first(
            number_field("text_threshold") + attribute("text_threshold"), _fraction
        ),
        nms_threshold=_first(attribute("nms_threshold"), _fraction),
        max_regions=_first(attribute("max_regions"), _count),
    )


def _first(places: list[tuple[_Tag, str]], read: Callable[[str], Value]) -> Value | None:
    """The value of the first tag that sets its attribute; BadRequest if it cannot be read."""
    for tag, attribute in places:
        text = tag.attributes.get(attribute.lower(), "").strip()
        if text:
            try:
                return read(text)
            except ValueError as error:
                raise BadRequest(
                    f'In the label config, <{tag.title} name="{tag.name}"> has '
                    f'{attribute}="{shorten(text)}", which must be {error}.'
                ) from None
    return None


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:  # also refuses "nan"
        raise ValueError("a number from 0 to 1")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) < 1:
        raise ValueError("a whole number of at least 1")
    return int(text)
