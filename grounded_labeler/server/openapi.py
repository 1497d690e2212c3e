"""The OpenAPI document of the service, made from the types of requests and responses.

`python -m grounded_labeler.server.openapi` prints it.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from grounded_labeler.__about__ import __version__
from grounded_labeler.quality.training_state import TrainingState
from grounded_labeler.server import examples, inspection_types, requests, responses

_REFS = "#/components/schemas/{model}"
_REFUSALS = ("400", "401", "413")


@dataclass(frozen=True)
class Operation:
    """One method of one route.

    `responses` has the type of the body and the meaning by status; `refusals` names shared
    responses by status. An `is_open` operation needs no login. `parameters` are the numbers in
    the path, with their meanings.
    """

    path: str
    method: str
    tag: str
    summary: str
    responses: dict[str, tuple[Any, str]]
    refusals: tuple[str, ...] = ()
    description: str = ""
    request: Any = None
    examples: dict[str, Any] = field(default_factory=dict)
    is_open: bool = False
    parameters: dict[str, str] = field(default_factory=dict)


_HEALTH = {
    "200": (responses.Health, "The service is alive."),
    "503": (responses.Health, "Only a restart helps."),
}
_VERSIONS = {"200": (responses.Versions, "The versions.")}

OPERATIONS = (
    Operation("/", "get", "monitoring", "The same as /health", _HEALTH, is_open=True),
    Operation(
        "/health", "get", "monitoring", "Whether the service is alive", _HEALTH, is_open=True
    ),
    Operation(
        "/ready",
        "get",
        "monitoring",
        "Whether the models are loaded and can predict",
        {"200": (responses.Ready, "The service can predict.")},
        ("503",),
        is_open=True,
    ),
    Operation(
        "/metrics",
        "get",
        "monitoring",
        "Counts and times, for Prometheus",
        {"200": (str, "Prometheus's text format.")},
        ("401",),
    ),
    Operation(
        "/openapi.json",
        "get",
        "monitoring",
        "This document",
        {"200": (responses.Document, "An OpenAPI document.")},
        ("401",),
    ),
    Operation(
        "/setup",
        "post",
        "labeling",
        "Take a project's label config",
        {"200": (responses.SetupResponse, "The service can draw with the config.")},
        _REFUSALS,
        "Label Studio sends this when it connects, and whenever someone opens a page of the"
        " project.",
        requests.SetupRequest,
        {"setup": examples.SETUP},
    ),
    Operation(
        "/predict",
        "post",
        "labeling",
        "Find what an annotator typed, or what is remembered, in the images of tasks",
        {"200": (responses.PredictResponse, "One prediction per task.")},
        (*_REFUSALS, "503"),
        "An image that the service cannot fetch or decode fails alone. When an annotator typed, "
        "the reason stands in the status field of the prediction; otherwise the prediction has "
        "`error` and no `result`.",
        requests.PredictRequest,
        {"typed": examples.TYPED, "pre-annotation": examples.PREANNOTATION},
    ),
    Operation(
        "/webhook",
        "post",
        "labeling",
        "Learn from what happened in a project",
        {
            "200": (
                responses.WebhookResponse,
                "Accepted. Without effect where a login is set and the request has none, as "
                "Label Studio's webhooks have.",
            )
        },
        _REFUSALS,
        "START_TRAINING, which Start Training on Label Studio's Model page sends, begins to tune "
        "the project in the background, unless that goes on already.",
        request=requests.WebhookRequest,
        examples={"saved": examples.SAVED},
    ),
    Operation(
        "/tune/{project}",
        "get",
        "labeling",
        "How far the tuning of a project is, and what came of it",
        {"200": (TrainingState, "The newest tuning of the project.")},
        ("400", "401", "404"),
        "A browser gets a page of the same.",
        parameters={"project": "The number of the project in Label Studio."},
    ),
    Operation("/versions", "get", "labeling", "The model versions in use", _VERSIONS, ("401",)),
    Operation(
        "/versions",
        "post",
        "labeling",
        "The model versions in use",
        _VERSIONS,
        ("401",),
        "The same; the service does not read a body.",
    ),
    Operation(
        "/models",
        "get",
        "inspection",
        "The models to choose from, and their thresholds",
        {"200": (inspection_types.ModelsResponse, "The models, the default ones first.")},
        ("401", "503"),
    ),
    Operation(
        "/detect",
        "post",
        "inspection",
        "All that a detector sees in one image, before any threshold",
        {"200": (inspection_types.DetectResponse, "The candidates.")},
        (*_REFUSALS, "422", "503"),
        "`grounded-labeler playground` requests this. It takes a slot and waits in the queue as a"
        " prediction does.",
        inspection_types.DetectRequest,
        {"prompt": examples.DETECT},
    ),
    Operation(
        "/segment",
        "post",
        "inspection",
        "Masks of what boxes or clicks mark in one image",
        {"200": (inspection_types.SegmentResponse, "The masks.")},
        (*_REFUSALS, "422", "503"),
        "Send either boxes around objects, or clicks on one object.",
        inspection_types.SegmentImageRequest,
        {"click": examples.SEGMENT},
    ),
)

# The responses that several routes share.
_SHARED: dict[str, tuple[str, dict[str, Any]]] = {
    "400": (
        "BadRequest",
        {
            "description": "The service cannot use the request, or the label config in it. The "
            "reason phrase says the same."
        },
    ),
    "401": (
        "Unauthorized",
        {
            "description": "The service has a user name and a password, and the request does not.",
            "headers": {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
        },
    ),
    "404": ("NotFound", {"description": "There is none."}),
    "413": ("TooLarge", {"description": "The body is larger than MAX_BODY_BYTES."}),
    "422": ("BadImage", {"description": "The service cannot fetch or decode the image."}),
    "503": (
        "NotReady",
        {
            "description": "The models are loading, failed to load, are stuck, are lost or have "
            "all they can do.",
            "headers": {
                "Retry-After": {
                    "required": True,
                    "description": "Seconds.",
                    "schema": {"type": "integer", "minimum": 1},
                }
            },
        },
    ),
}


class _Untitled(GenerateJsonSchema):
    """JSON schemas whose fields do not repeat their names as titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - pydantic's
        return False


def openapi_document() -> dict[str, Any]:
    """Make the OpenAPI document: the routes, and the types of their requests and responses."""
    taken = {operation.request for operation in OPERATIONS} - {None}
    returned = {kind for operation in OPERATIONS for kind, _ in operation.responses.values()}
    modes: list[tuple[Any, JsonSchemaMode]] = [
        *((kind, "validation") for kind in taken),
        *((kind, "serialization") for kind in returned | {responses.Error}),
    ]
    schemas, definitions = TypeAdapter.json_schemas(
        [(kind, mode, TypeAdapter(kind)) for kind, mode in modes],
        ref_template=_REFS,
        schema_generator=_Untitled,
    )
    by_type = {kind: schema for (kind, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _described(operation, by_type)
        paths.setdefault(operation.path, {})[operation.method] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Grounded Labeler",
            "version": __version__,
            "summary": "Label images in Label Studio by typing what is in them",
            "description": "What Label Studio requests of a machine learning backend, and what "
            "monitoring requests of it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "labeling", "description": "Called by Label Studio."},
            {"name": "inspection", "description": "Called by the playground and by people."},
            {"name": "monitoring", "description": "Called by orchestrators and people."},
        ],
        "security": [{"login": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "login": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Needed when BASIC_AUTH_USER and BASIC_AUTH_PASS are set.",
                }
            },
            "responses": {
                name: {**shared, "content": _json(by_type[responses.Error])}
                for name, shared in _SHARED.values()
            },
            "schemas": dict(sorted(definitions["$defs"].items())),
        },
    }


def _described(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    """One operation as OpenAPI has it; `schemas` holds those of requests and responses."""
    path = operation.path.strip("/").removesuffix(".json").partition("/")[0] or "root"
    is_post = operation.method == "post"
    described: dict[str, Any] = {
        "operationId": f"{path}_posted" if path == "versions" and is_post else path,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.is_open:
        described["security"] = []
    if operation.parameters:
        described["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": meaning,
                "schema": {"type": "integer", "minimum": 0},
            }
            for name, meaning in operation.parameters.items()
        ]
    if operation.request is not None:
        described["requestBody"] = {
            "required": True,
            "description": "The service reads it as JSON, whatever its content type is.",
            "content": _json(schemas[operation.request], examples=operation.examples),
        }
    described["responses"] = {
        status: {
            "description": meaning,
            "content": _text(schemas[kind]) if kind is str else _json(schemas[kind]),
        }
        for status, (kind, meaning) in operation.responses.items()
    } | {
        status: {"$ref": f"#/components/responses/{_SHARED[status][0]}"}
        for status in operation.refusals
    }
    return described


def _json(schema: Any, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"application/json": {"schema": schema, **more}}


def _text(schema: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"text/plain": {"schema": schema}}


@cache
def document_json(prefix: str = "") -> bytes:
    """Return the document as it is served, made once; under a `prefix` it says so."""
    document = openapi_document()
    if prefix:
        document |= {"servers": [{"url": prefix}]}
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


if __name__ == "__main__":
    print(document_json().decode())  # noqa: T201 - what it is for
