"""The models of a running service, over its routes /models, /detect and /segment."""

import base64
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar

import numpy as np
import requests
from pydantic import TypeAdapter, ValidationError
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from grounded_labeler._text import shorten
from grounded_labeler.coco import coco_mask
from grounded_labeler.core.prompt import Phrase, Prompt
from grounded_labeler.core.types import Candidates, Thresholds, TileCount, Views
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import GroundedLabelerError, SettingsError
from grounded_labeler.playground.models import Picture
from grounded_labeler.server.inspection_types import (
    MOST_BOXES,
    CandidateJson,
    DetectResponse,
    MaskJson,
    ModelsResponse,
    SegmentResponse,
    TilesJson,
)
from grounded_labeler.server.inspector import (
    Inspection,
    InspectionQuery,
    MaskOfObject,
    Offer,
    OfferedDetector,
)

Answer = TypeVar("Answer")
Login = tuple[str, str]  # a user name and a password

_TIMEOUT_S = (10.0, 300.0)  # to connect; for an answer, for which a request may queue

_MODELS = TypeAdapter(ModelsResponse)
_DETECT = TypeAdapter(DetectResponse)
_SEGMENT = TypeAdapter(SegmentResponse)


class ServiceError(GroundedLabelerError):
    """The service did not do what it was asked; the message says what it said."""


class ServiceModels:
    """The models of the service at `url`; threads share it."""

    def __init__(self, url: str, login: Login | None = None) -> None:
        """Raises SettingsError when `url` is no address of a service; nothing is asked yet."""
        self._url = _checked(url)
        # As UTF-8, which the service reads; requests writes what is text as Latin-1, or fails.
        self._auth = login and HTTPBasicAuth(_utf8(login[0]), _utf8(login[1]))

    def offer(self) -> Offer:
        answer = self._ask("GET", "/models", _MODELS)
        detectors = tuple(
            OfferedDetector(one["name"], one["box_threshold"], one["text_threshold"])
            for one in answer["detectors"]
        )
        return Offer(detectors, tuple(answer["segmenters"]))

    def detect(self, picture: Picture, query: InspectionQuery) -> Inspection:
        body = {
            "image": _data_url(picture),
            "prompt": query.prompt,
            "labels": None if query.labels is None else list(query.labels),
            "label_config": query.label_config,
            "detector": query.detector,
            "segmenter": query.segmenter,
            "background": query.is_background,
        }
        return _inspection(self._ask("POST", "/detect", _DETECT, body))

    def segment(
        self, picture: Picture, prompts: VisualPrompts, names: tuple[str, str]
    ) -> Sequence[MaskOfObject]:
        detector, segmenter = names
        body = {"image": _data_url(picture), "detector": detector, "segmenter": segmenter}
        if prompts.boxes is None:
            marks = zip(prompts.points[0].tolist(), prompts.are_positive[0].tolist(), strict=True)
            clicks = [{"x": x, "y": y, "positive": is_on} for (x, y), is_on in marks]
            answer = self._ask("POST", "/segment", _SEGMENT, body | {"clicks": clicks})
            return _masks(answer["masks"])
        found: list[MaskOfObject] = []
        for first in range(0, len(prompts), MOST_BOXES):
            boxes = prompts.boxes[first : first + MOST_BOXES].tolist()
            answer = self._ask("POST", "/segment", _SEGMENT, body | {"boxes": boxes})
            found += _masks(answer["masks"])
        return found

    def _ask(
        self,
        method: str,
        path: str,
        kind: TypeAdapter[Answer],
        body: Mapping[str, object] | None = None,
    ) -> Answer:
        try:
            response = requests.request(
                method, self._url + path, json=body, auth=self._auth,
                timeout=_TIMEOUT_S, allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as error:
            raise ServiceError(
                f"No service answers at {self._url}: check that it runs there ({_cause(error)})."
            ) from error
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            wanted = "another login than this one" if self._auth else "a login: --user NAME"
            raise ServiceError(f"The service at {self._url} wants {wanted}.")
        if response.status_code == HTTPStatus.OK:
            try:
                return kind.validate_json(response.content)
            except ValidationError as error:
                raise self._is_another(response) from error
        raise self._refusal(response)

    def _refusal(self, response: requests.Response) -> ServiceError:
        try:
            said = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            return self._is_another(response)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return ServiceError(
                f"The service at {self._url} is of a version without /detect: update it."
            )
        return ServiceError(shorten(str(said), 1000))

    def _is_another(self, response: requests.Response) -> ServiceError:
        return ServiceError(
            f"What answers at {self._url} is no grounded-labeler of this version "
            f"(status {response.status_code})."
        )


def _utf8(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _checked(url: str) -> str:
    try:
        parsed = parse_url(url.strip())
    except LocationParseError:
        parsed = None
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError("The address of a service must be as http://localhost:9090.")
    if parsed.auth:
        raise SettingsError("Take the login out of the address of the service: give --user.")
    return url.strip().rstrip("/")


def _cause(error: requests.RequestException) -> str:
    return type(error).__name__


def _data_url(picture: Picture) -> str:
    return "data:;base64," + base64.b64encode(picture.data).decode()


def _masks(masks: Sequence[MaskJson]) -> list[MaskOfObject]:
    return [
        MaskOfObject(None if one["mask"] is None else coco_mask(one["mask"]), one["score"])
        for one in masks
    ]


def _inspection(answer: DetectResponse) -> Inspection:
    limits, phrases = answer["thresholds"], answer["phrases"]
    presence = answer["presence"]
    return Inspection(
        (answer["width"], answer["height"]),
        Prompt(tuple(Phrase(one["text"], one["label"], one["negative"]) for one in phrases)),
        tuple(one["label"] for one in phrases),
        tuple(one["score_threshold"] for one in phrases),
        Thresholds(limits["box"], limits["text"], limits["nms"], limits["max_regions"]),
        _candidates(
            answer["candidates"],
            len(phrases),
            is_coarse=answer["is_coarse"],
            presence=presence,
            scores_tokens=answer["scores_tokens"],
            tiles=answer["tiles"],
        ),
    )


def _candidates(
    rows: Sequence[CandidateJson],
    phrases: int,
    *,
    is_coarse: bool,
    presence: list[float] | None,
    scores_tokens: bool,
    tiles: TilesJson | None,
) -> Candidates:
    scores = np.zeros((2, len(rows), phrases), np.float32)
    for number, row in enumerate(rows):
        for phrase, peak, mean in row["scores"]:
            scores[:, number, phrase] = peak, mean
    return Candidates(
        np.array([row["box"] for row in rows], np.float32).reshape(-1, 4),
        scores[0],
        scores[1],
        np.array([row["caption"] for row in rows], np.intp),
        is_coarse,
        None if presence is None else np.array(presence, np.float32),
        scores_tokens,
        None if tiles is None else _views(rows, tiles),
    )


def _views(rows: Sequence[CandidateJson], tiles: TilesJson) -> Views:
    return Views(
        np.array([row["view"] for row in rows], np.float32).reshape(-1, 4),
        np.array([row["is_cut"] for row in rows], np.bool_),
        TileCount(tiles["done"], tiles["wanted"]),
    )
