"""The kinds of values that settings have: how each is read and what is refused.

What a check raises completes a sentence that begins with the variable and its value.
"""

import re
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from grounded_labeler._text import fits_in_header
from grounded_labeler.core.tiling import parse_tiling
from grounded_labeler.errors import ImageError
from grounded_labeler.images.ssrf import AllowList, parse_http
from grounded_labeler.listen_address import parse_bind, parse_port, parse_prefix
from grounded_labeler.prompts.url import read_store_address
from grounded_labeler.weights.choice import check_name
from grounded_labeler.weights.offer import check_pair

_CLUSTER = re.compile(r"(ray://)?[\w.:\[\]-]+:\d{1,5}", re.ASCII)
_PILLOW_LIMIT = 178_956_970  # pixels; Pillow opens no larger image, whatever it is told


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _check_hosts(entries: tuple[str, ...]) -> tuple[str, ...]:
    AllowList(entries)
    return entries


def _check_address(address: str) -> str:
    address = address.strip()
    if "@" in address:  # also where no password should be: it would be printed in errors
        raise ValueError(
            "must have no user name or password in it, nor any other @: write an address like"
            " http://localhost:8080, and the token into LABEL_STUDIO_API_KEY"
        )
    try:
        url = parse_http(address)
    except ImageError:
        raise ValueError("must be an address like http://localhost:8080") from None
    host = url.host or ""
    if "%" in host and not host.startswith("["):
        raise ValueError("must be an address like http://localhost:8080")
    if url.query is not None or url.fragment is not None:
        raise ValueError("must have no ? or # in it: write an address like http://localhost:8080")
    return address


def _check_cluster(address: str) -> str:
    if not _CLUSTER.fullmatch(address):
        raise ValueError("must be host:6379 on a node of the cluster, ray://host:10001 elsewhere")
    return address


def _read_port(value: object) -> object:
    return parse_port(value) if isinstance(value, str) else value


def _check_bind(address: str) -> str:
    parse_bind(address)
    return address.strip()


def _check_pairs(pairs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(check_pair(pair) for pair in pairs)


def _check_tiles(text: str) -> str:
    try:
        parse_tiling(text)
    except ValueError as error:
        raise ValueError(f"must be {error}") from None
    return text


def _check_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value().strip()
    if not fits_in_header(text):
        raise ValueError("must be the token alone: no blanks, line ends or letters such as é")
    return SecretStr(text)


def _check_store(address: SecretStr) -> SecretStr:
    read_store_address(address.get_secret_value())
    return address


PrecisionChoice = Literal["auto", "fp32", "mixed", "bf16", "fp16"]
Output = Literal["auto", "boxes", "masks", "both"]
Preannotate = Literal["auto", "last_prompt", "labels", "off"]
StartTraining = Literal["propose", "apply", "off"]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
LogFormat = Literal["text", "json"]
DetectorName = Annotated[str, AfterValidator(partial(check_name, "detector"))]
SegmenterName = Annotated[str, AfterValidator(partial(check_name, "segmenter"))]
Tiles = Annotated[str, AfterValidator(_check_tiles)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Pairs = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_pairs)]
Address = Annotated[str, AfterValidator(_check_address)]
BindAddress = Annotated[str, AfterValidator(_check_bind)]
UrlPrefix = Annotated[str, AfterValidator(parse_prefix)]
Cluster = Annotated[str, AfterValidator(_check_cluster)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
Store = Annotated[SecretStr, AfterValidator(_check_store)]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_hosts)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# Beyond it nothing is counted here, and other programs do not take the number.
_MOST = 2**53
Count = Annotated[int, Field(ge=1, le=_MOST)]
Bytes = Annotated[int, Field(ge=0, le=_MOST)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Processes = Annotated[int, Field(ge=1, le=256)]
# Below, the published models see fewer cells of a square image than they propose boxes.
ShortSide = Annotated[int, Field(ge=256, le=1600)]
Pixels = Annotated[int, Field(ge=1, le=_PILLOW_LIMIT)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]  # a thread can wait for no number without end
Port = Annotated[int, BeforeValidator(_read_port)]
