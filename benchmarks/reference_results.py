"""The regions that today's Label Studio example answers with.

The example fails where numpy's floats meet JSON; here they are made Python's first.
"""

import json
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Result = dict[str, Any]


def rectangle_results(
    boxes: NDArray[np.float32], scores: Tensor, size_wh: tuple[int, int]
) -> list[Result]:
    """Regions of `boxes`, (N, 4) xyxy in pixels, with their scores (N,)."""
    width, height = size_wh
    return [
        _result("rectanglelabels", score.item(), size_wh)
        | {
            "value": {
                "rotation": 0,
                "x": float(x1 / width * 100),
                "y": float(y1 / height * 100),
                "width": float((x2 - x1) / width * 100),
                "height": float((y2 - y1) / height * 100),
            }
        }
        for (x1, y1, x2, y2), score in zip(boxes, scores, strict=True)
    ]


def brush_results(
    codes: list[list[int]], qualities: NDArray[np.float32], size_wh: tuple[int, int]
) -> list[Result]:
    """Regions of N masks, each the `rle` of one, with their qualities (N, 1)."""
    return [
        _result("brushlabels", float(quality[0]), size_wh)
        | {"value": {"format": "rle", "rle": code}}
        for code, quality in zip(codes, qualities, strict=True)
    ]


def _result(kind: str, score: float, size_wh: tuple[int, int]) -> Result:
    return {
        "id": uuid4().hex[:9],
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "original_width": size_wh[0],
        "original_height": size_wh[1],
        "image_rotation": 0,
        "score": score,
        "readonly": False,
    }


def to_json(results: list[Result]) -> str:
    """The prediction as it goes over the wire."""
    score = sum(result["score"] for result in results) / max(len(results), 1)
    return json.dumps({"result": results, "score": score, "model_version": "reference"})
