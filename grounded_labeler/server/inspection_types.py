"""The bodies of /models, /detect and /segment: requests that are checked, and responses."""

from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StringConstraints,
)
from typing_extensions import TypedDict

from grounded_labeler.coco import CocoRle
from grounded_labeler.label_studio.drawings import MAX_CLICKS
from grounded_labeler.label_studio.prediction_types import Exactly
from grounded_labeler.server.requests import Id, ProjectKey
from grounded_labeler.settings_types import Tiles

_MOST_LABELS = 5000
_MOST_CHARACTERS = 500  # of a label or of a model's name
MOST_BOXES = 300

_Pixel = Annotated[float, Field(strict=True, ge=-1e6, le=1e6, allow_inf_nan=False)]
_Name = Annotated[str, StringConstraints(strict=True, max_length=_MOST_CHARACTERS)]


def _or_none(value: object) -> object:
    return value or None


class OfImage(BaseModel):
    """One image, and the models that look at it."""

    image: Annotated[
        str,
        Field(
            strict=True,
            min_length=1,
            description="The image's address as a task has it: data:image/...;base64, http, "
            "https, a path on Label Studio, s3, gs or azure-blob.",
        ),
    ]
    task: Annotated[Id, Field(description="Needed for images in a cloud storage.")] = None
    project: ProjectKey = Field(default_factory=str)
    detector: Annotated[
        _Name | None,
        BeforeValidator(_or_none),
        Field(description="One of those that /models lists, or null for the default."),
    ] = None
    segmenter: Annotated[
        _Name | None,
        BeforeValidator(_or_none),
        Field(description="One of those that /models lists, or null for the default."),
    ] = None


class DetectRequest(OfImage):
    """One image and what to look for in it: a prompt, labels, or a prompt with labels."""

    prompt: Annotated[
        Annotated[str, Field(strict=True)] | None,
        BeforeValidator(_or_none),
        Field(description="As an annotator types it; null to look for the labels."),
    ] = None
    labels: Annotated[
        Annotated[list[_Name], Field(max_length=_MOST_LABELS)] | None,
        Field(description="What objects may be called; null for those that the prompt names."),
    ] = None
    label_config: Annotated[
        Annotated[str, Field(strict=True)] | None,
        BeforeValidator(_or_none),
        Field(
            description="A label config, XML. Its labels, thresholds and models hold instead; "
            "what the request names itself goes before them."
        ),
    ] = None
    tiles: Annotated[
        Tiles | None,
        BeforeValidator(_or_none),
        Field(
            description="`off`, `auto` or the side of a tile in pixels, as text; null for what the "
            "label config or the service says."
        ),
    ] = None
    background: Annotated[
        StrictBool, Field(description="True lets annotators go first: for many images.")
    ] = False


class Click(TypedDict):
    """A click in pixels of the displayed image."""

    x: _Pixel
    y: _Pixel
    positive: Annotated[StrictBool, Field(description="False for a click off the object.")]


class SegmentImageRequest(OfImage):
    """One image, and boxes around objects or clicks on one object."""

    boxes: Annotated[
        Annotated[
            list[Annotated[list[_Pixel], Field(min_length=4, max_length=4)]],
            Field(max_length=MOST_BOXES),
        ]
        | None,
        Field(description="x0, y0, x1 and y1 in pixels, x0 below x1 and y0 below y1."),
    ] = None
    clicks: Annotated[
        Annotated[list[Click], Field(max_length=MAX_CLICKS)] | None,
        Field(description="Clicks on one object, oldest first, at least one of them positive."),
    ] = None


@Exactly
class DetectorJson(TypedDict):
    """A detector, with the thresholds that hold for it where nobody sets others."""

    name: str
    box_threshold: Annotated[float, Field(ge=0, le=1)]
    text_threshold: Annotated[float, Field(ge=0, le=1)]


@Exactly
class ModelsResponse(TypedDict):
    """The models to choose from, the default ones first."""

    detectors: Annotated[list[DetectorJson], Field(min_length=1)]
    segmenters: Annotated[
        list[str], Field(min_length=1, description='"none" is for boxes without masks.')
    ]


@Exactly
class ThresholdsJson(TypedDict):
    """The thresholds that hold where nobody sets others."""

    box: Annotated[float, Field(ge=0, le=1)]
    text: Annotated[float, Field(ge=0, le=1)]
    nms: Annotated[float, Field(ge=0, le=1)]
    max_regions: Annotated[int, Field(ge=1)]


@Exactly
class PhraseJson(TypedDict):
    """A phrase that was looked for."""

    text: str
    label: Annotated[str | None, Field(description="The label that it means, if any.")]
    negative: Annotated[bool, Field(description="Whether what it finds is left out.")]
    score_threshold: Annotated[
        float | None,
        Field(description="The box threshold typed for it, or else that of its label, if any."),
    ]


@Exactly
class CandidateJson(TypedDict):
    """A box with its scores, before any threshold."""

    box: Annotated[
        list[float],
        Field(min_length=4, max_length=4, description="x0, y0, x1 and y1 in pixels; it may "
              "reach over the image's edge."),
    ]  # fmt: skip
    caption: Annotated[int, Field(ge=0, description="The caption of the detector it is from.")]
    view: Annotated[
        list[float] | None,
        Field(
            min_length=4,
            max_length=4,
            description="x0, y0, x1 and y1 of the tile, or of the image, that it was found in; "
            "null where there are no tiles.",
        ),
    ]
    is_cut: Annotated[bool, Field(description="Whether an edge of the tile cuts it.")]
    scores: Annotated[
        list[tuple[int, float, float]],
        Field(
            description="Of each phrase that scores anything: its number, its peak, which the box "
            "threshold is compared with, and its mean, which the text threshold is compared with."
        ),
    ]


@Exactly
class TilesJson(TypedDict):
    """The tiles of an image."""

    done: Annotated[int, Field(ge=0, description="How many there was time for.")]
    wanted: Annotated[int, Field(ge=1, description="How many there are.")]


@Exactly
class DetectResponse(TypedDict):
    """All candidates of an image."""

    width: Annotated[int, Field(ge=1, description="Of the displayed image, in pixels.")]
    height: Annotated[int, Field(ge=1)]
    thresholds: ThresholdsJson
    phrases: Annotated[list[PhraseJson], Field(min_length=1)]
    lowest_score: Annotated[
        float, Field(description="Candidates whose every peak is lower are left out.")
    ]
    scores_tokens: Annotated[
        bool, Field(description="False where a phrase has one score and no text threshold.")
    ]
    is_coarse: Annotated[
        bool, Field(description="Whether memory was short, so that the image was scaled down.")
    ]
    presence: Annotated[
        list[float] | None,
        Field(description="How likely each phrase is in the image at all, if that is known."),
    ]
    tiles: Annotated[
        TilesJson | None,
        Field(description="The tiles that the detector looked at, null where there are none."),
    ]
    candidates: list[CandidateJson]


@Exactly
class MaskJson(TypedDict):
    """The mask of one object."""

    mask: Annotated[
        CocoRle | None, Field(description="COCO's run lengths; null where no pixel was found.")
    ]
    score: Annotated[float, Field(ge=0, le=1, description="The segmenter's guess at its IoU.")]


@Exactly
class SegmentResponse(TypedDict):
    """A mask for each box, in their order, or one for all clicks."""

    masks: list[MaskJson]
