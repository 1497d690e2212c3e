"""Label Studio's label config, XML, to what a project can draw."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DTDForbidden  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from grounded_labeler._text import shorten
from grounded_labeler.core.prompt import phrases_from_labels
from grounded_labeler.core.types import Label
from grounded_labeler.errors import BadRequest, PromptError
from grounded_labeler.label_studio.config_settings import (
    STATUS,
    displayed,
    form_of,
    how_to_mark,
    is_smart_tool,
    model_names,
    note_fields,
    overrides,
    preannotate_mode,
    prompt_field,
    search_tool,
    tiles,
)
from grounded_labeler.label_studio.config_tags import Tag, read_fraction, read_tag
from grounded_labeler.label_studio.image_value import ImageValue, read_images
from grounded_labeler.label_studio.schema import (
    Control,
    Geometry,
    ImageTarget,
    LabelConfig,
    TaskLabels,
)
from grounded_labeler.label_studio.task_labels import VARIABLE, make_label, merged

logger = logging.getLogger(__name__)

NO_LABEL_CONFIG = "The request has no label config: set one under Labeling Interface."

_MAX_CHARACTERS = 1_000_000  # thousands of labels; what is cached must have a bound

_MAX_TAGS = 50

# Tag names are compared in lower case, as the editor does; a result's `type` is
# the tag's name in lower case.
_LABELLED: dict[str, Geometry] = {
    "rectanglelabels": "box",
    "bitmasklabels": "bitmask",
    "brushlabels": "brush",
    "polygonlabels": "polygon",
    "vectorlabels": "vector",
}
_BARE = {name.removesuffix("labels"): geometry for name, geometry in _LABELLED.items()}
_GEOMETRIES = _LABELLED | _BARE
_VECTORS = frozenset({"vector", "vectorlabels"})
_USABLE = (
    "<RectangleLabels>, <BrushLabels>, <BitmaskLabels>, <PolygonLabels>, "
    '<VectorLabels closable="true">, '
    "or <Rectangle>, <Brush>, <Bitmask>, <Polygon>, <Vector> with <Labels>"
)


# Of a tag with labels: those it has, and those that tasks bring.
_LabelsOf = dict[Element, tuple[tuple[Label, ...], tuple[TaskLabels, ...]]]


def read_label_config(xml: object) -> LabelConfig:
    """Read a project's label config; results are cached, since every request brings it.

    `xml` is whatever the request holds. Raises BadRequest when it is not a config,
    or one this service cannot draw anything with.
    """
    if not isinstance(xml, str) or not xml.strip():
        raise BadRequest(NO_LABEL_CONFIG)
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
    every = list(map(read_tag, root.iter()))
    tags = [tag for tag in every if not tag.is_set("model_skip", "true")]
    images, unread = read_images(root)
    drawing = [tag for tag in tags if can_draw(tag) or tag.kind == "labels"]
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
        skipped = [tag for tag in every if can_draw(tag) and tag not in tags]
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
    marked = {tag.attributes.get("name", "") for tag in every if tag not in tags}
    fields = [tag for tag in every if tag.kind == "textarea" and _is_prompt_of(tag, targets)]
    config = LabelConfig(targets, frozenset(marked - {""}), model_names(fields))
    notes = dict.fromkeys(name for target in targets for name in target.notes)
    if notes and not config.with_status:  # with one, whoever types there is told
        logger.warning("%s", how_to_mark(list(notes)))
    return config


def _is_prompt_of(tag: Tag, targets: tuple[ImageTarget, ...]) -> bool:
    name, images = tag.attributes.get("name"), _targets(tag)
    return any(target.prompt_name == name and target.name in images for target in targets)


def _named(tags: list[Tag]) -> str:
    return " or ".join(
        f'<{tag.title} name="{shorten(tag.attributes.get("name", ""))}">' for tag in tags[:3]
    )


def _target(name: str, value: ImageValue, tags: list[Tag], labels: _LabelsOf) -> ImageTarget | None:
    """The image called `name` with all that points at it; None when nothing can draw on it."""
    own = [tag for tag in tags if tag.attributes.get("name") and name in _targets(tag)]
    search = search_tool([tag for tag in own if tag.kind == "rectangle"])
    drawing = [tag for tag in own if can_draw(tag) and tag is not search]
    if not drawing:
        return None
    labels_tags = [tag for tag in own if tag.kind == "labels"]
    controls = tuple(
        control for tag in drawing for control in _controls(tag, name, labels_tags, labels)
    )
    different = {id(control.labels): control.labels for control in controls}.values()
    merged_labels = merged(label for several in different for label in several)
    try:
        phrases_from_labels(merged_labels)
    except PromptError as error:
        raise BadRequest(f"In the label config: {error}") from None
    textareas = [tag for tag in own if tag.kind == "textarea"]
    field = prompt_field(textareas)
    return ImageTarget(
        name=name,
        value=value,
        controls=controls,
        labels=merged_labels,
        prompt_name=None if field is None else field.name,
        notes=note_fields(textareas) if field is None else (),
        status_name=STATUS if any(tag.name == STATUS for tag in textareas) else None,
        preannotate=preannotate_mode(field),
        overrides=overrides(drawing + labels_tags),
        displayed=displayed([tag for tag in own if tag.kind == "number"]),
        tiles=tiles(field, drawing + labels_tags),
        has_smart_tools=any(is_smart_tool(tag) for tag in own if tag is not search),
        search_name=None if search is None else search.name,
    )


def can_draw(tag: Tag) -> bool:
    """Whether objects can be drawn with a tag: a vector that cannot be closed is a line."""
    if tag.kind in _VECTORS:
        return tag.is_set("closable", "true")
    return tag.kind in _GEOMETRIES


def _targets(tag: Tag) -> list[str]:
    return [part.strip() for part in tag.attributes.get("toname", "").split(",")]


def _controls(tag: Tag, image: str, labels_tags: list[Tag], labels: _LabelsOf) -> Iterator[Control]:
    for owner in labels_tags if tag.kind in _BARE and labels_tags else [tag]:
        yield Control(
            name=tag.name,
            to_name=image,
            geometry=_GEOMETRIES[tag.kind],
            result_type=tag.kind,
            labels_name=owner.name,
            labels=labels[owner.element][0],
            task_labels=labels[owner.element][1],
            form=form_of(tag, _GEOMETRIES[tag.kind]),
        )


def _labels(owner: Tag) -> Iterator[Label]:
    for tag in _label_tags(owner):
        if not VARIABLE.fullmatch(tag.attributes.get("value", "")):
            yield _label(tag)


def _task_labels(owner: Tag) -> Iterator[TaskLabels]:
    if match := VARIABLE.fullmatch(owner.attributes.get("value", "")):
        yield TaskLabels(match[1])
    for tag in _label_tags(owner):
        if match := VARIABLE.fullmatch(tag.attributes.get("value", "")):
            own = _label(tag)
            # Its other name is "$brand", which nobody reads or asks for.
            means = tuple(name for name in own.predicted_values if name != match[0])
            prompt = None if own.prompt == match[0] else own.prompt
            yield TaskLabels(match[1], replace(own, predicted_values=means, prompt=prompt))


def _label_tags(owner: Tag) -> Iterator[Tag]:
    for tag in map(read_tag, owner.element.iter()):
        if tag.kind == "label" and (tag.attributes.get("value") or tag.attributes.get("alias")):
            yield tag


def _label(tag: Tag) -> Label:
    names = ("value", "alias", "predicted_values", "prompt")
    texts = (tag.attributes.get(name, "") for name in names)
    return make_label(*texts, score_threshold=tag.read("score_threshold", read_fraction))
