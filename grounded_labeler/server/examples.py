"""Requests as Label Studio sends them: the examples of openapi.json."""

from typing import Any

_PROJECT = "1.1795170150"
_CONFIG = (
    '<View><TextArea name="prompt" toName="image"/>'
    '<TextArea name="status" toName="image" smart="false"/><Image name="image" value="$image"/>'
    '<RectangleLabels name="label" toName="image"><Label value="Circle"/></RectangleLabels></View>'
)
_RED_CIRCLE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAADAAAAAgAQMAAABuGmlfAAAABlBMVEX////cHh7/Hx2WAAAA"
    "SUlEQVR42pXOIQ6AQBQD0bcNCdyCo8LROBISQfgIBLgNY5pOKsoP5g0sO6iDaAYiQgwaedYxsb6tG4xVH3kq4nIR5SSs"
    "x/dLjxuaAQ9KpOlGIAAAAABJRU5ErkJggg=="
)
_TYPED_CIRCLE = {
    "from_name": "prompt",
    "to_name": "image",
    "type": "textarea",
    "value": {"text": ["circle"]},
}

SETUP: dict[str, Any] = {
    "summary": "A page of a project was opened",
    "value": {
        "project": _PROJECT,
        "schema": _CONFIG,
        "hostname": "http://localhost:8080",
        "access_token": None,
        "extra_params": None,
    },
}
TYPED: dict[str, Any] = {
    "summary": 'An annotator typed "circle"',
    "value": {
        "tasks": [{"id": 1, "data": {"image": _RED_CIRCLE}}],
        "project": _PROJECT,
        "label_config": _CONFIG,
        "params": {"context": {"result": [_TYPED_CIRCLE]}},
    },
}
PREANNOTATION: dict[str, Any] = {
    "summary": "Label Studio pre-annotates",
    "value": {
        "tasks": [
            {"id": 1, "data": {"image": _RED_CIRCLE}},
            {"id": 2, "data": {"image": "data:image/png;base64,"}},
        ],
        "project": _PROJECT,
        "label_config": _CONFIG,
        "params": {"context": None},
    },
}
SAVED: dict[str, Any] = {
    "summary": "An annotator saved an annotation",
    "value": {
        "action": "ANNOTATION_CREATED",
        "annotation": {
            "id": 1,
            "result": [
                _TYPED_CIRCLE,
                {
                    "from_name": "label",
                    "to_name": "image",
                    "type": "rectanglelabels",
                    "value": {
                        "x": 9,
                        "y": 9,
                        "width": 9,
                        "height": 9,
                        "rectanglelabels": ["Circle"],
                    },
                },
            ],
        },
        "project": {
            "id": 1,
            "created_at": "2026-11-20T10:22:30.172388Z",
            "label_config": _CONFIG,
        },
    },
}
DETECT: dict[str, Any] = {
    "summary": "All candidates for a prompt",
    "value": {"image": _RED_CIRCLE, "prompt": "red circle . star", "labels": ["Circle"]},
}
SEGMENT: dict[str, Any] = {
    "summary": "A click on an object",
    "value": {"image": _RED_CIRCLE, "clicks": [{"x": 22, "y": 16, "positive": True}]},
}
