"""Predictions as Label Studio stores them: the JSON that this service returns.

https://labelstud.io/guide/task_format describes the format. The descriptions are those of
openapi.json.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

Percent = Annotated[
    float,
    Field(ge=0, le=100, description="Percent of the displayed image's width or height."),
]
_Score = Annotated[float, Field(ge=0, le=1)]
_Pixels = Annotated[int, Field(ge=1, description="Pixels of the image as it is displayed.")]
_RegionLabel = Annotated[list[str], Field(max_length=1, description="The region's label, or none.")]
_OneLabel = Annotated[list[str], Field(min_length=1, max_length=1)]
ModelVersion = Annotated[
    str,
    Field(
        min_length=1,
        description="The models and a digest of all that shapes a prediction without a typed "
        "prompt. When it changes, Label Studio requests predictions again.",
        examples=["demo+demo-38210081"],
    ),
]
Exactly = with_config(ConfigDict(extra="forbid"))


_Place = Annotated[
    float,
    Field(
        description="Percent of the displayed image's width or height, of the corner that was top "
        "left before the box was rotated. Of a box that is rotated it may lie outside the image."
    ),
]
_Extent = Annotated[
    float,
    Field(
        ge=0,
        description="Percent of the displayed image's width or height; of a box that is rotated "
        "it may be more than 100.",
    ),
]


class BoxValue(TypedDict):
    """A box; it is rotated where the tag has rotated="true"."""

    x: _Place
    y: _Place
    width: _Extent
    height: _Extent
    rotation: Annotated[
        float,
        Field(ge=0, lt=360, description="Degrees clockwise about that corner, in pixels."),
    ]
    rectanglelabels: NotRequired[_RegionLabel]


class MaskValue(TypedDict):
    """A mask."""

    format: Literal["rle"]
    rle: Annotated[
        list[Annotated[int, Field(ge=0, le=255)]],
        Field(description="Label Studio's run-length code of the mask at the original size."),
    ]
    brushlabels: NotRequired[_RegionLabel]


_PngUrl = Annotated[str, Field(pattern="^data:image/png;base64,")]


class BitmaskValue(TypedDict):
    """A mask as an image of the displayed size: the object black and opaque, the rest clear."""

    imageDataURL: _PngUrl
    bitmasklabels: NotRequired[_RegionLabel]


class PolygonValue(TypedDict):
    """A polygon."""

    points: Annotated[
        list[Annotated[list[Percent], Field(min_length=2, max_length=2)]],
        Field(min_length=3, description="x and y of each corner."),
    ]
    closed: Literal[True]
    polygonlabels: NotRequired[_RegionLabel]


class Vertex(TypedDict):
    """A corner of a vector."""

    id: str
    prevPointId: Annotated[str, Field(description="The corner before it.")]
    x: Percent
    y: Percent
    isBezier: Literal[False]


class VectorValue(TypedDict):
    """A closed vector, which is a polygon."""

    vertices: Annotated[list[Vertex], Field(min_length=3)]
    closed: Literal[True]
    vectorlabels: NotRequired[_RegionLabel]


class LabelledBox(BoxValue):
    """A box with its label."""

    labels: _OneLabel


class LabelledMask(MaskValue):
    """A mask with its label."""

    labels: _OneLabel


class LabelledBitmask(BitmaskValue):
    """A mask with its label."""

    labels: _OneLabel


class LabelledPolygon(PolygonValue):
    """A polygon with its label."""

    labels: _OneLabel


class LabelledVector(VectorValue):
    """A vector with its label."""

    labels: _OneLabel


@Exactly
class Meta(TypedDict):
    """What the editor shows in a region's Info panel."""

    text: list[str]


class _OnImage(TypedDict):
    id: Annotated[
        str,
        Field(
            min_length=1,
            description="Unique; a Rectangle, Brush, Bitmask, Polygon or Vector shares it with its "
            "labels.",
        ),
    ]
    from_name: Annotated[str, Field(description="The control that draws it.")]
    to_name: Annotated[str, Field(description="The image it is on.")]
    original_width: _Pixels
    original_height: _Pixels
    image_rotation: Literal[0]
    score: _Score
    meta: NotRequired[
        Annotated[
            Meta,
            Field(description="The phrase it was found for, when it has no label; see PROVENANCE."),
        ]
    ]


@Exactly
class Region(_OnImage):
    """One object that was found, or one part of its mask."""

    type: Literal[
        "rectanglelabels", "brushlabels", "bitmasklabels", "polygonlabels", "vectorlabels",
        "rectangle", "brush", "bitmask", "polygon", "vector",
    ]  # fmt: skip
    value: BoxValue | MaskValue | BitmaskValue | PolygonValue | VectorValue


@Exactly
class RegionLabels(_OnImage):
    """The label of a Rectangle, Brush, Bitmask, Polygon or Vector of the same id."""

    type: Literal["labels"]
    value: LabelledBox | LabelledMask | LabelledBitmask | LabelledPolygon | LabelledVector


@Exactly
class TextValue(TypedDict):
    """The text of a TextArea."""

    text: Annotated[list[str], Field(min_length=1)]


@Exactly
class Text(TypedDict):
    """The text for a TextArea: the status message, or a remembered prompt."""

    from_name: str
    to_name: str
    type: Literal["textarea"]
    value: TextValue


@Exactly
class MaskImageValue(TypedDict):
    """A mask as a white object on black."""

    imageDataURL: _PngUrl
    width: _Pixels
    height: _Pixels


@Exactly
class MaskImage(TypedDict):
    """The mask of clicks or a box of the interactive layer, which makes a region of it."""

    id: str
    type: Literal["bitmask"]
    score: _Score
    value: MaskImageValue


@Exactly
class CapabilityTarget(TypedDict):
    """What a control tag makes of a mask."""

    tag: str
    output: Literal["mask", "bbox", "polygon"]


@Exactly
class ModelInfo(TypedDict):
    """The models and the version of the service."""

    name: str
    version: str


@Exactly
class CapabilitiesValue(TypedDict):
    """What can be drawn for the models, and which tags can hold what comes of it."""

    prompts: list[Literal["point", "box"]]
    targets: list[CapabilityTarget]
    model_info: ModelInfo


@Exactly
class Capabilities(TypedDict):
    """The response to the event `capabilities` of the interactive layer."""

    id: str
    type: Literal["capabilities"]
    origin: Literal["manual"]
    value: CapabilitiesValue


Result = Region | RegionLabels | Text | MaskImage | Capabilities


@Exactly
class PredictionWithResult(TypedDict):
    """A prediction that Label Studio stores."""

    result: Annotated[
        list[Result],
        Field(description="Best region first; empty when nothing was found or requested."),
    ]
    score: Annotated[_Score, Field(description="The mean of the regions' scores.")]
    model_version: ModelVersion


@Exactly
class PredictionWithError(TypedDict):
    """A prediction that Label Studio skips, as it has no `result`, and requests again later.

    It is never the response to a typed prompt.
    """

    error: Annotated[str, Field(min_length=1, description="Why there is no result.")]
    model_version: ModelVersion


PredictionJson = PredictionWithResult | PredictionWithError
