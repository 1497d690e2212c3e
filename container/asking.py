"""Requests as Label Studio sends them, as scripts that a container's own Python runs."""

import numpy as np

from grounded_labeler.core.boxes import box_iou

_ASK = """
import base64, json, sys
from pathlib import Path
from grounded_labeler.demo.show import LABEL_CONFIG, SAMPLES
from grounded_labeler.label_studio.rendering import box_of, label_of, mask_of
from grounded_labeler.demo.process import HERE

image = base64.b64encode((SAMPLES / "wide.jpg").read_bytes()).decode()
prompt = {prompt!r}
typed = {{
    "value": {{"text": [prompt]}}, "id": "y3O1S0tttR", "from_name": "prompt",
    "to_name": "image", "type": "textarea", "origin": "manual",
}}
body = {{
    "tasks": [{{"id": 1, "data": {{"image": "data:image/jpeg;base64," + image}}}}],
    "project": "1.1795170150",
    "label_config": LABEL_CONFIG,
    "params": {{"context": {{"result": [typed]}} if prompt else None}},
}}
response = HERE.post("http://127.0.0.1:9090/predict", json=body, timeout=120)
assert response.ok, response.text
[prediction] = response.json()["results"]
regions = prediction["result"]
drawn = [region for region in regions if region["from_name"] in ("boxes", "masks")]
print(json.dumps({{
    "model_version": prediction["model_version"],
    "labels": [label_of(region) for region in drawn],
    "boxes": [box_of(r).tolist() for r in drawn if r["type"] == "rectanglelabels"],
    "masks": [
        [int(v) for v in (m.any(0).argmax(), m.any(1).argmax(), m.any(0).sum(), m.any(1).sum())]
        for m in (mask_of(r) for r in drawn if r["type"] == "brushlabels")
    ],
    "texts": {{r["from_name"]: r["value"]["text"][0] for r in regions if r["type"] == "textarea"}},
}}))
"""


def asking(prompt: str | None) -> str:
    """A script that asks about the bundled image wide.jpg and prints what comes back.

    JSON: `labels`, `boxes` as xyxy in pixels, `masks` as x, y, width, height of what they
    cover in pixels, `texts` of the prompt and the status field, the prediction's `model_version`.
    """
    return _ASK.format(prompt=prompt)


def overlap(box: list[float], truth: list[float]) -> float:
    """Intersection over union of two boxes, xyxy."""
    return float(box_iou(np.array([box], np.float32), np.array([truth], np.float32))[0, 0])


def corners(mask: list[int]) -> list[float]:
    """xyxy of x, y, width, height."""
    x, y, width, height = mask
    return [x, y, x + width, y + height]
