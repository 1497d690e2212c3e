"""A COCO file, https://cocodataset.org/#format-data, read and checked for its form."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from grounded_labeler._text import shorten
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.preannotate.names import readable

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_PIXELS = 2**30
_MAX_VALUE = 1e9  # of a coordinate

Id = int | str
Number = Annotated[FiniteFloat, Field(ge=-_MAX_VALUE, le=_MAX_VALUE)]


class TruthFileError(GroundedLabelerError):
    """A file with a truth cannot be used; the message says where it is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CocoImage(_Part):
    """An image; `width` and `height` are in pixels."""

    id: Id
    name: str = Field(alias="file_name")
    width: PositiveInt
    height: PositiveInt


class CocoCategory(_Part):
    """What an object may be."""

    id: Id
    name: Annotated[str, Field(min_length=1)]


class RunLengths(_Part):
    """A mask of `size`, height and width in pixels, packed or not."""

    size: tuple[PositiveInt, PositiveInt]
    counts: str | list[Annotated[int, Field(ge=0, le=_MAX_PIXELS)]]


class Annotation(_Part):
    """An object: its box is x, y, width and height in pixels."""

    id: Id | None = None
    image_id: Id
    category_id: Id
    bbox: tuple[Number, Number, Number, Number] | None = None
    segmentation: RunLengths | list[list[Number]] | None = None
    iscrowd: Literal[0, 1] = 0


class Document(_Part):
    """What a file has."""

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[Annotation]


def read_document(path: Path) -> Document:
    """Read a COCO file; raises TruthFileError where it is none."""
    where = readable(path.name)
    try:
        data = path.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    except OSError as error:
        raise TruthFileError(f"{readable(str(path))} cannot be read: {error.strerror}.") from error
    try:
        document = Document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise TruthFileError(f"{where} is no JSON: {shorten(first['msg'], 200)}.") from error
        place = ".".join(map(str, first["loc"])) or "its top"
        raise TruthFileError(
            f"{where} is no COCO file: at {shorten(place)}, {shorten(first['msg'], 200)}."
        ) from error
    for image in document.images:
        if image.width * image.height > _MAX_PIXELS:
            raise TruthFileError(
                f'In {where}, image "{shorten(image.name)}" has more than {_MAX_PIXELS:,} pixels.'
            )
    return document
