"""What Label Studio's smart tools send when somebody draws."""

from itertools import count
from typing import Any

_NUMBERS = count()


def _drawn(kind: str, name: str, value: dict[str, Any], label: str | None) -> dict[str, Any]:
    return {
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "id": f"KEcj_{next(_NUMBERS)}",
        "from_name": name,
        "to_name": "image",
        "type": kind,
        "origin": "manual",
        "value": value | ({} if label is None else {kind: [label]}),
    }


def click(
    x: object, y: object, *, positive: bool = True, label: str | None = "Circle"
) -> dict[str, Any]:
    """A click, in percent; with Alt held where it is not `positive`."""
    value: dict[str, Any] = {"x": x, "y": y, "width": 0.26}
    drawn = _drawn("keypointlabels", "points", value, label)
    return drawn | {"is_positive": positive}


def box(
    x: object, y: object, width: object, height: object, rotation: float = 0,
    label: str | None = "Circle",
) -> dict[str, Any]:  # fmt: skip
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return _drawn("rectanglelabels", "boxes", value, label)


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, rotation: float = 0
) -> dict[str, Any]:
    value = {"x": x, "y": y, "radiusX": radius_x, "radiusY": radius_y, "rotation": rotation}
    return _drawn("ellipselabels", "ellipses", value, "Circle")


def stroke(rle: object) -> dict[str, Any]:
    return _drawn("brushlabels", "masks", {"format": "rle", "rle": rle}, "Circle")


def search(
    x: object, y: object, width: object, height: object, rotation: float = 0, name: str = "search"
) -> dict[str, Any]:
    """A rectangle to look closer into, in percent; no label is selected when it is drawn."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return _drawn("rectangle", name, value, None)
