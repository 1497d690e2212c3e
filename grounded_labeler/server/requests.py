"""The bodies of requests: checked once, documented in openapi.json, refused in one sentence.

Label Studio's bodies hold far more than the service reads. What is not read is dropped, and
what only the label config can make sense of is passed on as it came.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    FailFast,
    Field,
    InstanceOf,
    SkipValidation,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from typing_extensions import TypedDict

from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import NO_LABEL_CONFIG
from grounded_labeler.prompts.history import project_key

_MAX_TEXT_LENGTH = 2000  # of what /setup says and is kept: host names, tokens

# By the first field that cannot be used: pydantic's own messages are for programmers.
_SENTENCES = {
    "tasks": "`tasks` must be a list of Label Studio tasks.",
    "params": "`params` must be an object.",
    "label_config": NO_LABEL_CONFIG,
    "schema": NO_LABEL_CONFIG,
    "image": "`image` must be the address of an image, as text.",
    "prompt": "`prompt` must be a text, or null.",
    "labels": "`labels` must be a list of at most 5000 short texts, or null.",
    "detector": "`detector` must be the name of a detector, or null.",
    "segmenter": "`segmenter` must be the name of a segmenter, or null.",
    "tiles": "`tiles` must be off, auto or a number of pixels, as text, or null.",
    "background": "`background` must be true or false.",
    "boxes": "`boxes` must be a list of at most 300 boxes, each [x0, y0, x1, y1] in pixels.",
    "clicks": "`clicks` must be a list of at most 100 clicks, each with x and y in pixels and "
    "`positive`, true or false.",
}
_NO_TASK = "Every task must be an object with a `data` object."
_NO_OBJECT = "The request body must be a JSON object."

Body = TypeVar("Body", bound=BaseModel)


def read_request(model: type[Body], body: object, **limits: int) -> Body:
    """Check the `body` of a request, as JSON was parsed, against `model`.

    `limits` are what its validators compare with, such as `max_tasks`. Raises BadRequest
    with one sentence about the first thing that is wrong.
    """
    try:
        return model.model_validate(body, context=limits)
    except ValidationError as problems:
        [problem, *_] = problems.errors(include_url=False, include_context=False)
        match problem["loc"]:
            case ("tasks", _, *_):
                sentence = _NO_TASK
            case (field, *_):
                sentence = _SENTENCES[str(field)]
            case _:
                sentence = _NO_OBJECT
        raise BadRequest(sentence) from None


def _check_number(tasks: object, info: ValidationInfo) -> object:
    """Refuse too many tasks before any of them is looked at."""
    most = info.context["max_tasks"] if info.context else None
    if isinstance(tasks, list):
        if not tasks:
            raise BadRequest("`tasks` is empty: send at least one task.")
        if most is not None and len(tasks) > most:
            raise BadRequest(f"{len(tasks)} tasks are more than {most}, which MAX_TASKS sets.")
    return tasks


def _short_text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT_LENGTH else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _object(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _key(value: object) -> str:
    return project_key(value)


def _set(value: object) -> object:
    return value or None


ProjectKey = Annotated[
    str,
    BeforeValidator(_key),
    WithJsonSchema(
        {
            "type": ["string", "integer", "null"],
            "description": "The project's id, perhaps with its creation time after a dot. The "
            "service stores prompts by project.",
            "examples": ["1.1795170150"],
        }
    ),
]
# `read_label_config` says what is wrong with it.
LabelConfigXml = Annotated[
    object,
    WithJsonSchema(
        {
            "type": "string",
            "description": "The project's labeling interface, XML. It needs an Image and a tag "
            "to draw on it with.",
        }
    ),
]
ShortText = Annotated[str | None, BeforeValidator(_short_text)]
Id = Annotated[object, WithJsonSchema({"type": ["integer", "string", "null"]})]


# What is no list, or holds no `result`, is passed over.
_Saved = Annotated[
    object,
    WithJsonSchema(
        {
            "type": ["array", "null"],
            "items": {"type": "object"},
            "description": "What is saved of the task, each with a `result` list: the prompt in "
            "the newest one is asked inside a rectangle that an annotator draws.",
        }
    ),
]


class Task(TypedDict):
    """A Label Studio task. The service reads its id, its data and what was typed for it."""

    id: NotRequired[
        Annotated[Id, Field(description="Needed for images in a cloud storage of Label Studio.")]
    ]
    data: Annotated[
        InstanceOf[dict[str, Any]],  # not copied: a body may hold millions
        Field(
            description="Holds the image's address under the key that the label config names: "
            "http, https, a path on Label Studio, s3, gs, azure-blob or data:image/...;base64."
        ),
    ]
    drafts: NotRequired[_Saved]
    annotations: NotRequired[_Saved]


class ContextValue(TypedDict, total=False):
    """What was typed, set or drawn; a shape has its label under the name of its type."""

    text: Annotated[str | list[str], Field(description="What was typed; the last one counts.")]
    number: Annotated[float, Field(description="From 0 to 1.")]
    x: Annotated[float, Field(description="Of a shape: percent of the displayed image.")]
    y: float
    width: float
    height: float
    rotation: Annotated[float, Field(description="Degrees, clockwise.")]
    radiusX: float
    radiusY: float
    rle: Annotated[list[int], Field(description="A brush stroke.")]
    positive: Annotated[bool, Field(description="Of a click of the interactive layer.")]
    keypointlabels: list[str]
    rectanglelabels: list[str]
    ellipselabels: list[str]
    brushlabels: list[str]
    labels: Annotated[list[str], Field(description="Of a bare tag, from its Labels tag.")]


class ContextResult(TypedDict, total=False):
    """One result of an annotation.

    The service reads a prompt typed in a TextArea, a threshold set in a Number called
    box_threshold or text_threshold and, where no prompt was typed, the clicks, boxes, ellipses
    and brush strokes of smart tools. It skips all others.
    """

    id: Annotated[str, Field(description="Equal for all results of one region.")]
    from_name: Annotated[str, Field(description="The control it comes from.")]
    to_name: Annotated[str | None, Field(description="The image it belongs to.")]
    type: str
    is_positive: Annotated[bool, Field(description="False for a click off the object.")]
    value: ContextValue


class Context(TypedDict, total=False):
    """What the annotator typed or drew."""

    result: Annotated[
        list[ContextResult],
        Field(
            description="Results of the annotation at hand, oldest first. Without a prompt or a "
            "shape in it the prediction is empty."
        ),
    ]
    event: Annotated[
        str,
        Field(
            description="Sent by Label Studio's interactive layer: `capabilities` gets what can be "
            "drawn, `prewarm` has the image encoded; others get an empty prediction."
        ),
    ]
    remember: Annotated[
        bool,
        Field(
            description="False where the prompt is a try, as those of `connect` and `doctor`: it "
            "is answered, and the project's remembered prompt stays."
        ),
    ]


class Params(BaseModel):
    """Parameters of a prediction."""

    # `read_context` reads it by the label config, and skips what it does not know.
    context: Annotated[
        SkipValidation[Context | None],
        Field(
            description="What the annotator typed or drew. Null when Label Studio pre-annotates: "
            "then the service looks for the remembered prompt or the labels."
        ),
    ] = None


class PredictRequest(BaseModel):
    """Tasks, the project's label config, and perhaps what an annotator typed."""

    tasks: Annotated[
        list[Task],
        FailFast(),
        BeforeValidator(_check_number),
        Field(
            description="At most as many as MAX_TASKS allows.", json_schema_extra={"minItems": 1}
        ),
    ]
    project: ProjectKey = Field(default_factory=str)
    label_config: LabelConfigXml
    params: Annotated[Params | None, BeforeValidator(_set)] = None


class SetupRequest(BaseModel):
    """A project's label config, and where its Label Studio is."""

    project: ProjectKey = Field(default_factory=str)
    label_config: LabelConfigXml = Field(alias="schema")
    hostname: ShortText = Field(
        None, description="Where Label Studio is. Used when LABEL_STUDIO_URL is not set."
    )
    access_token: ShortText = Field(
        None, description="A token to fetch images from that Label Studio with."
    )


class Annotation(TypedDict, total=False):
    """An annotation, as it was saved."""

    was_cancelled: bool | None
    result: list[ContextResult] | None


class WebhookProject(BaseModel):
    """The project that an event is about."""

    id: Id = None
    created_at: Annotated[object, WithJsonSchema({"type": ["string", "null"]})] = None
    label_config: Annotated[str | None, BeforeValidator(_text)] = None

    @property
    def key(self) -> str:
        """The name that other requests give the project."""
        return project_key(self.id, self.created_at)


class WebhookRequest(BaseModel):
    """Something happened in a project.

    The service stores a prompt typed in an annotation that has a region, too, for the project with
    this id and `created_at`. START_TRAINING has it tune the project. It accepts and ignores all
    else.
    """

    action: Annotated[
        object, WithJsonSchema({"type": ["string", "null"], "examples": ["ANNOTATION_CREATED"]})
    ] = None
    project: Annotated[WebhookProject | None, BeforeValidator(_object)] = None
    annotation: Annotated[SkipValidation[Annotation | None], BeforeValidator(_object)] = None
