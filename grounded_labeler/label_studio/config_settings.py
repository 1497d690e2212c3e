"""What a label config sets: the prompt field, when to pre-annotate, and the thresholds."""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast, get_args

from grounded_labeler._text import shorten
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config_tags import (
    Tag,
    read_fraction,
    read_switch,
    read_tiling,
)
from grounded_labeler.label_studio.schema import Form, Geometry, ModelNames, Overrides
from grounded_labeler.settings_types import Preannotate
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.offer import OfferedModels

Value = TypeVar("Value")

PROMPT, STATUS = "prompt", "status"  # what these TextAreas are called
_SEARCH = "search"  # what the Rectangle to look closer with is called
_MAX_DIGITS = 9  # of a number of regions
_MAX_TOLERANCE = 1000  # pixels: no outline is simplified by more
_FEWEST_POINTS = 3
_MAX_NAMES = 300  # characters of a list of tags
# https://labelstud.io/tags/keypointlabels and those of the others, without "labels".
_SMART_TOOLS = frozenset({"keypoint", "rectangle", "ellipse", "brush"})


def prompt_field(textareas: Sequence[Tag]) -> Tag | None:
    """The TextArea that prompts are typed in: one with model_prompt="true", or else "prompt".

    No other one: a note typed into it would be looked for, and written into other tasks.
    Raises BadRequest when `model_prompt` is neither true nor false.
    """
    marks = {
        tag.name: (tag.read("model_prompt", read_switch), tag)
        for tag in textareas
        if tag.name != STATUS and not tag.is_set("perregion", "true")
    }
    marked = (tag for mark, tag in marks.values() if mark)
    mark, named = marks.get(PROMPT, (None, None))
    return next(marked, None if mark is False else named)


def search_tool(rectangles: Sequence[Tag]) -> Tag | None:
    """The `<Rectangle>` to look closer with: one with model_search="true", or a smart "search".

    Raises BadRequest when `model_search` is neither true nor false.
    """
    marks = [(tag.read("model_search", read_switch), tag) for tag in rectangles]
    named = (
        tag for mark, tag in marks if mark is None and tag.name == _SEARCH and is_smart_tool(tag)
    )
    return next((tag for mark, tag in marks if mark), next(named, None))


def note_fields(textareas: Sequence[Tag]) -> tuple[str, ...]:
    """The TextAreas that Label Studio sends as soon as something is typed, by their names."""
    return tuple(
        tag.name
        for tag in textareas
        if tag.name != STATUS
        and not tag.is_set("perregion", "true")
        and not tag.is_set("smart", "false")
    )


def is_smart_tool(tag: Tag) -> bool:
    """Whether the config marks the tag as one to draw with for the service.

    Label Studio 1.23 has a smart tool for each tag without smart="false", and what is drawn with
    it is answered. But who only draws boxes needs no image encoded before each.
    """
    is_smart = tag.is_set("smart", "true") or tag.is_set("smartonly", "true")
    return is_smart and tag.kind.removesuffix("labels") in _SMART_TOOLS


def how_to_mark(names: Sequence[str]) -> str:
    """The sentence for somebody who types prompts into TextAreas that are none."""
    quoted = ", ".join(f'"{shorten(name)}"' for name in names)
    return (
        f"Nothing typed into {shorten(quoted, _MAX_NAMES)} is taken for a prompt: name the "
        f'TextArea for prompts "{PROMPT}", or give it model_prompt="true" in the label config.'
    )


def preannotate_mode(field: Tag | None) -> Preannotate | None:
    """What the prompt field's tag says of tasks that nobody typed a prompt for, if anything."""
    return None if field is None else field.read("preannotate", _mode)


def model_names(fields: Sequence[Tag]) -> ModelNames:
    """The models that the prompt fields of a config choose.

    Raises BadRequest when two of them choose differently: a project has one pair of models.
    """
    chosen = {
        (field.read("detector", str), field.read("segmenter", str)): field for field in fields
    }
    chosen.pop((None, None), None)
    if not chosen:
        return ModelNames()
    if len(chosen) > 1:
        names = " and ".join(f'"{shorten(field.name)}"' for field in chosen.values())
        raise BadRequest(
            f"In the label config, the prompt fields {names} choose different models: give them "
            "the same detector and segmenter, or one of them none."
        )
    [((detector, segmenter), field)] = chosen.items()
    return ModelNames(detector, segmenter, f'<{field.title} name="{shorten(field.name)}">')


def choose_models(names: ModelNames, offered: OfferedModels) -> ModelChoice:
    """The models of a project; raises BadRequest for one that the service does not offer."""
    for attribute, name, known in (
        ("detector", names.detector, offered.detectors),
        ("segmenter", names.segmenter, offered.segmenters),
    ):
        if name is not None and name not in known:
            raise BadRequest(
                f'In the label config, {names.tag} has {attribute}="{shorten(name)}", which this '
                f"service does not offer: it must be {' or '.join(known)}."
            )
    return offered.choose(names.detector, names.segmenter)


def overrides(controls: Sequence[Tag]) -> Overrides:
    """The thresholds set by attributes of control tags: of each the first one."""
    return Overrides(
        box_threshold=_first(controls, "model_score_threshold", read_fraction),
        text_threshold=_first(controls, "text_threshold", read_fraction),
        nms_threshold=_first(controls, "nms_threshold", read_fraction),
        max_regions=_first(controls, "max_regions", _count),
    )


def tiles(field: Tag | None, controls: Sequence[Tag]) -> str | None:
    """What the prompt field's tag says of tiles, or else the first control tag that does."""
    return _first([*filter(None, [field]), *controls], "tiles", read_tiling)


def displayed(numbers: Sequence[Tag]) -> Overrides:
    """The thresholds that Number fields show before anyone touches them."""

    def default(name: str) -> float | None:
        return _first([tag for tag in numbers if tag.name == name], "defaultValue", read_fraction)

    return Overrides(
        box_threshold=default("box_threshold"), text_threshold=default("text_threshold")
    )


def form_of(tag: Tag, geometry: Geometry) -> Form:
    """How regions are drawn with a control tag, by its attributes; others' do not count."""
    if geometry == "box":
        return Form(is_rotated=tag.read("rotated", read_switch) or False)
    if geometry in ("polygon", "vector"):
        return Form(
            tolerance=tag.read("tolerance", _pixels), max_points=tag.read("max_points", _points)
        )
    return Form()


def _first(tags: Sequence[Tag], attribute: str, reader: Callable[[str], Value]) -> Value | None:
    values = (tag.read(attribute, reader) for tag in tags)
    return next((value for value in values if value is not None), None)


def _mode(text: str) -> Preannotate:
    modes = get_args(Preannotate)
    if text.lower() not in modes:
        raise ValueError(f"one of {', '.join(modes)}")
    return cast(Preannotate, text.lower())


def _pixels(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _MAX_TOLERANCE:  # also refuses "nan"
        raise ValueError(f"a number of pixels from 0 to {_MAX_TOLERANCE}")
    return number


def _points(text: str) -> int:
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) < _FEWEST_POINTS:
        raise ValueError(f"a whole number of at least {_FEWEST_POINTS}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) < 1:
        raise ValueError("a whole number of at least 1")
    return int(text)
