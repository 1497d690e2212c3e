"""The bodies of responses, as openapi.json describes them."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from grounded_labeler.label_studio.prediction_types import (
    Exactly,
    ModelVersion,
    PredictionJson,
)
from grounded_labeler.weights.verification import State


@Exactly
class Error(TypedDict):
    """Why a request has no other response."""

    error: Annotated[
        str,
        Field(
            min_length=1,
            description="What was wrong and how to mend it, for a person to read.",
        ),
    ]


@Exactly
class Health(TypedDict):
    """What the service runs, and whether it can."""

    status: Annotated[Literal["UP", "DOWN"], Field(description="DOWN when only a restart helps.")]
    models: Annotated[
        Literal["loading", "ready", "failed", "stuck", "lost"],
        Field(description="The state of the models."),
    ]
    version: Annotated[str, Field(description="The version of this program.")]
    model: NotRequired[
        Annotated[str, Field(description="The names of the models, once they are ready.")]
    ]
    others_loaded: NotRequired[
        Annotated[
            list[str],
            Field(
                min_length=1,
                description="The names of the other models of MODELS that are loaded now.",
            ),
        ]
    ]
    device: NotRequired[
        Annotated[str, Field(description="What the models run on, such as cpu or cuda.")]
    ]
    runtime: NotRequired[
        Annotated[
            str,
            Field(
                description="What computes them: OpenVINO or PyTorch, or OpenVINO+PyTorch where "
                "the detector and the segmenter differ."
            ),
        ]
    ]
    precision: NotRequired[
        Annotated[
            Literal["fp32", "mixed", "bf16", "fp16"],
            Field(
                description="The numbers they compute with; mixed is bf16 in some layers and "
                "fp32 elsewhere."
            ),
        ]
    ]
    threads: NotRequired[
        Annotated[int, Field(ge=1, description="Threads they compute with on the CPU.")]
    ]
    verified: NotRequired[
        Annotated[
            dict[str, State],
            Field(
                description="Whether each model, by its name, gave what was published of it when "
                "`grounded-labeler verify` last ran before this process started. Where the "
                "detector and the segmenter have one name, the worse of the two."
            ),
        ]
    ]
    error: NotRequired[Annotated[str, Field(description="Why the service is down.")]]
    model_class: Annotated[str, Field(description="Read by Label Studio.")]
    v2: Annotated[Literal[True], Field(description="Read by Label Studio.")]


@Exactly
class Ready(TypedDict):
    """The service can predict now."""

    status: Literal["READY"]


@Exactly
class SetupResponse(TypedDict):
    """The model version for the project's label config."""

    model_version: ModelVersion


@Exactly
class PredictResponse(TypedDict):
    """One prediction per task."""

    results: Annotated[
        list[PredictionJson],
        Field(min_length=1, description="One prediction per task, in the order of the tasks."),
    ]


@Exactly
class Versions(TypedDict):
    """The model versions in use."""

    versions: Annotated[
        list[str],
        Field(
            min_length=1,
            description="Of the projects seen, or the models' names before the first one.",
        ),
    ]


@Exactly
class WebhookResponse(TypedDict):
    """An empty object, but for START_TRAINING."""

    job: NotRequired[
        Annotated[str, Field(description="The tuning that goes on; Label Studio keeps its name.")]
    ]
    message: NotRequired[Annotated[str, Field(description="What comes of it, for people.")]]


class Document(TypedDict):
    """An OpenAPI document."""

    openapi: str
    info: dict[str, object]
    paths: dict[str, object]
