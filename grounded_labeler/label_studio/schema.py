"""What a project can draw, its labels and its settings: the nouns of a label config."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from grounded_labeler.core.types import Label
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.settings_types import Output, Preannotate

Geometry = Literal["box", "bitmask", "brush", "polygon", "vector"]

_MASKS: tuple[Geometry, ...] = ("bitmask", "brush", "polygon", "vector")  # best first


@dataclass(frozen=True)
class TaskLabels:
    """Labels that stand in each task's own data, under `key`.

    A list of them, as of `<Labels value="$brands">`, where `tag` is None. Else the shown name
    of the one label `tag`, a `<Label value="$brand">`: the editor saves its regions with the
    alias or, literally, `$brand`.
    """

    key: str
    tag: Label | None = None


@dataclass(frozen=True)
class Form:
    """How regions of a control tag are drawn.

    A box that `is_rotated` is the smallest one around the mask, where there is a mask. Polygons and
    vectors keep to `tolerance`, in pixels, and to `max_points`, of one region, where they are set.
    """

    is_rotated: bool = False
    tolerance: float | None = None
    max_points: int | None = None


@dataclass(frozen=True)
class Control:
    """A control tag that regions can be drawn with.

    `result_type` is the `type` of its results ("rectanglelabels", "rectangle", ...).
    `labels_name` names the control its labels belong to: itself for RectangleLabels
    and the like, a `<Labels>` tag for a bare Rectangle, Brush, Bitmask, Polygon or Vector (itself,
    with no labels, where there is none). A bare tag is a control of its own with
    each `<Labels>` tag of its image. Tasks may have more labels, by `task_labels`.
    """

    name: str
    to_name: str
    geometry: Geometry
    result_type: str
    labels_name: str
    labels: tuple[Label, ...]
    task_labels: tuple[TaskLabels, ...] = ()
    form: Form = Form()

    def has(self, label: str | None) -> bool:
        """Whether one of its labels is saved as `label`."""
        return label in self._values

    @cached_property
    def _values(self) -> frozenset[str]:
        # Asked for every label of a project, of which there may be thousands.
        return frozenset(own.value for own in self.labels)


@dataclass(frozen=True)
class Overrides:
    """Settings made in a label config or typed by an annotator; None where none is made."""

    box_threshold: float | None = None
    text_threshold: float | None = None
    nms_threshold: float | None = None
    max_regions: int | None = None


@dataclass(frozen=True)
class ModelNames:
    """The models that a prompt field chooses; None leaves one to the service. `tag` names it."""

    detector: str | None = None
    segmenter: str | None = None
    tag: str = ""


@dataclass(frozen=True)
class ImageTarget:
    """One `<Image>` tag with everything in the config that points at it."""

    name: str
    value: ImageValue  # where a task has its address
    controls: tuple[Control, ...]  # drawable and not skipped, in document order, never empty
    labels: tuple[Label, ...]  # of all its controls, each value once
    prompt_name: str | None = None  # the TextArea prompts are typed in
    notes: tuple[str, ...] = ()  # other TextAreas, where none is for prompts
    status_name: str | None = None  # the TextArea that is told what was found
    preannotate: Preannotate | None = None  # what the prompt's tag says of it
    overrides: Overrides = field(default_factory=Overrides)
    displayed: Overrides = field(default_factory=Overrides)  # by fields that nobody touched
    tiles: str | None = None  # as the setting TILES; what the prompt's tag, or a control's, says
    has_smart_tools: bool = False  # whether a tag is marked as one to draw with for a segmenter
    search_name: str | None = None  # the Rectangle that parts to look closer at are drawn with

    @property
    def has_task_labels(self) -> bool:
        """Whether tasks may have labels of their own: see task_labels.py."""
        return any(control.task_labels for control in self.controls)

    def is_search(self, result: Mapping[str, object]) -> bool:
        """Whether a result is a part to look closer at, which is no region."""
        return self.search_name is not None and result.get("from_name") == self.search_name

    def geometries(
        self, output: Output, has_segmenter: bool, label: str | None = None
    ) -> tuple[Geometry, ...]:
        """Return how to draw an object of `label`: a box, a mask, or a box and a mask.

        A mask is a bitmask, a brush region, polygons or vectors, the first of these that the
        config has a control for. Controls that have `label` go before those that do not. Where
        `output` wants what the config or the service cannot do, the other form is drawn. Empty
        when nothing can be drawn.
        """
        key = output, has_segmenter, label if label in self._label_values else None
        if key not in self._geometries:
            own = [control.geometry for control in self.controls if control.has(label)]
            every = [control.geometry for control in self.controls]
            forms = _forms(own, output, has_segmenter) or _forms(every, output, has_segmenter)
            self._geometries[key] = forms
        return self._geometries[key]

    def wants_masks(self, output: Output, has_segmenter: bool) -> bool:
        """Return whether an object of any label may be drawn as a mask, or as a box around one."""
        if (output, has_segmenter) not in self._wants_masks:
            labels = (None, *(label.value for label in self.labels))
            drawn = {self.geometries(output, has_segmenter, label) for label in labels}
            is_rotated = any(control.form.is_rotated for control in self.controls)
            self._wants_masks[output, has_segmenter] = drawn != {("box",)} or (
                has_segmenter and is_rotated
            )
        return self._wants_masks[output, has_segmenter]

    # Every request brings the config, whose targets are cached, and every region needs this.
    @cached_property
    def _geometries(self) -> dict[tuple[Output, bool, str | None], tuple[Geometry, ...]]:
        return {}

    @cached_property
    def _wants_masks(self) -> dict[tuple[Output, bool], bool]:
        return {}

    @cached_property
    def _label_values(self) -> frozenset[str]:
        return frozenset(label.value for label in self.labels)


@dataclass(frozen=True)
class LabelConfig:
    """The images of a project that this service can draw on, in document order.

    `skipped` are the names of the tags that the config has this service leave alone, `models` the
    models that it chooses.
    """

    images: tuple[ImageTarget, ...]
    skipped: frozenset[str] = frozenset()
    models: ModelNames = field(default_factory=ModelNames)

    @property
    def with_status(self) -> list[ImageTarget]:
        """The images that have a status field."""
        return [target for target in self.images if target.status_name]


def _forms(
    present: Collection[Geometry], output: Output, has_segmenter: bool
) -> tuple[Geometry, ...]:
    boxes: tuple[Geometry, ...] = ("box",) if "box" in present else ()
    masks = tuple(form for form in _MASKS if has_segmenter and form in present)[:1]
    if output == "both":
        return boxes + masks
    return boxes or masks if output == "boxes" else masks or boxes
