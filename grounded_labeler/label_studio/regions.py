"""Detections and masks -> Label Studio regions, in whatever form the label config can hold.

What Label Studio takes is described at https://labelstud.io/guide/task_format.
A region without a label carries its phrase in `meta.text`, which the editor shows
in the region's Info panel, so that the annotator can choose.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any
from uuid import uuid4

from grounded_labeler.core.polygons import LeftOut
from grounded_labeler.core.types import Detections, Mask
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.provenance import Provenance, meta_of
from grounded_labeler.label_studio.region_values import ValuesOf, region_values
from grounded_labeler.label_studio.schema import Control, Geometry, ImageTarget
from grounded_labeler.settings_types import Output

SCORE_DIGITS = 4
# What the `value` of a shape has one of, and that of a choice or a text has not: boxes, ellipses
# and key points have `x`.
_GEOMETRY = frozenset({"x", "points", "rle", "vertices", "imageDataURL"})
_ONE_OF_SEVERAL = re.compile(r"([0-9a-f]{32})-[0-9]+")


def drawable_geometries(
    target: ImageTarget, output: Output, has_segmenter: bool, label: str | None = None
) -> tuple[Geometry, ...]:
    """Return the forms an object is drawn in, as `ImageTarget.geometries` does.

    Raises BadRequest when none can be drawn.
    """
    forms = target.geometries(output, has_segmenter, label)
    if not forms:
        names = ", ".join(dict.fromkeys(f'"{control.name}"' for control in target.controls))
        raise BadRequest(
            f'The controls of image "{target.name}" ({names}) hold only masks and no segmenter '
            'runs: add RectangleLabels to the label config, or have one run: by segmenter="..." on '
            "its prompt field where the service offers several models, else by "
            "SEGMENTER=mobile-sam."
        )
    return forms


def wants_masks(target: ImageTarget, output: Output, has_segmenter: bool) -> bool:
    """Whether `encode_regions` may use masks; raises BadRequest as `drawable_geometries` does."""
    drawable_geometries(target, output, has_segmenter)
    return target.wants_masks(output, has_segmenter)


def encode_regions(
    detections: Detections,
    masks: Sequence[Mask] | None,
    target: ImageTarget,
    size_wh: tuple[int, int],
    output: Output,
    *,
    provenance: Provenance | None = None,
    left_out: list[LeftOut] | None = None,
    values_of: ValuesOf = region_values,
) -> list[dict[str, Any]]:
    """The `result` list of a prediction: JSON-ready regions, best detection first.

    `masks` holds one mask per detection, of an image of the displayed size `size_wh`;
    None when no segmenter runs. An object whose mask has not a single pixel is drawn
    as a box, where the config can hold one. With `provenance`, each says why it is there.
    To `left_out` is added what polygons lack of their masks, for each mask drawn so.
    `values_of` makes the value of each region, as `KeptValues` does for our own server.
    Raises BadRequest as `drawable_geometries` does, and ValueError for masks of
    another number or size; Label Studio would show those of another size as stripes.
    """
    width, height = size_wh
    sizes = [(height, width)] * len(detections)
    if masks is not None and [mask.size_hw for mask in masks] != sizes:
        raise ValueError(
            f"masks must be {len(detections)} of {height} x {width} pixels, "
            f"got {[mask.size_hw for mask in masks]}"
        )
    results: list[dict[str, Any]] = []
    for i in range(len(detections)):
        ids = _region_ids()
        mask = None if masks is None else masks[i]
        geometries = drawable_geometries(target, output, mask is not None, detections.labels[i])
        if mask is not None and not mask.any():
            geometries = target.geometries(output, has_segmenter=False)
        for geometry in geometries:
            control, label = _choose_control(target, geometry, detections.labels[i])
            region: dict[str, Any] = {
                "to_name": target.name,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": round(float(detections.scores[i]), SCORE_DIGITS),
            }
            region |= meta_of(detections.phrases[i], label, provenance)
            box = detections.boxes[i : i + 1]
            values, lacking = values_of(control, box, mask, size_wh)
            if left_out is not None and lacking is not None:
                left_out.append(lacking)
            for value in values:
                results += _with_label({**region, "id": next(ids)}, value, control, label)
    return results


def object_of(region_id: str) -> str:
    """Return what the ids of all regions of one object begin with; of any other region, its id.

    The editor keeps ids when an annotator accepts regions or copies a prediction.
    """
    match = _ONE_OF_SEVERAL.fullmatch(region_id)
    return region_id if match is None else match[1]


def text_result(name: str, target: ImageTarget, text: str) -> dict[str, Any]:
    """The result that writes `text` into the TextArea `name` of this image.

    Without an id the editor updates the field it already shows.
    """
    return {
        "from_name": name,
        "to_name": target.name,
        "type": "textarea",
        "value": {"text": [text]},
    }


def holds_region(result: object, target: ImageTarget) -> bool:
    """Whether there is a shape on this image in the `result` of a prediction or an annotation.

    Whoever drew it, and with whatever tag. What does not look like a result is passed over.
    """
    return isinstance(result, list) and any(
        isinstance(item, dict)
        and item.get("to_name") == target.name
        and not target.is_search(item)
        and isinstance(value := item.get("value"), dict)
        and not _GEOMETRY.isdisjoint(value)
        for item in result
    )


def _region_ids() -> Iterator[str]:
    """Ids for the regions of one object, in the order they are drawn."""
    first = uuid4().hex
    yield first
    yield from (f"{first}-{number}" for number in count(2))


def _choose_control(
    target: ImageTarget, geometry: Geometry, label: str | None
) -> tuple[Control, str | None]:
    """The control for a region, and the region's label if that control has it."""
    controls = [control for control in target.controls if control.geometry == geometry]
    having = [control for control in controls if control.has(label)]
    return (having[0], label) if having else (controls[0], None)


def _with_label(
    region: dict[str, Any], value: dict[str, Any], control: Control, label: str | None
) -> list[dict[str, Any]]:
    """The one or two results that make up a region.

    RectangleLabels and the like keep the label in the value. With [] the editor
    shows a region without label; with no list at all it does so too, but the SDK's
    validator objects. A bare Rectangle keeps its label in a second result of the
    same id, from its `<Labels>` tag.
    """
    labels = [] if label is None else [label]
    shape = {**region, "from_name": control.name, "type": control.result_type}
    if control.result_type.endswith("labels"):
        return [{**shape, "value": {**value, control.result_type: labels}}]
    results = [{**shape, "value": value}]
    if labels:
        named = {"from_name": control.labels_name, "type": "labels"}
        results.append({**region, **named, "value": {**value, "labels": labels}})
    return results
