"""What one browser does: the models run for Find, masks and clicks, and for nothing else."""

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from werkzeug.serving import make_server

from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import BadRequest, GroundedLabelerError, ImageError, SettingsError
from grounded_labeler.images.fetcher import Fetcher, Origin
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.playground.models import LocalModels, Models, Picture
from grounded_labeler.playground.pictures import Pictures, Reader, images_of
from grounded_labeler.playground.selection import Limits, detections_of
from grounded_labeler.playground.service_models import ServiceError, ServiceModels
from grounded_labeler.playground.session import Session
from grounded_labeler.server.inspector import (
    Inspection,
    InspectionQuery,
    Inspector,
    MaskOfObject,
    Offer,
)
from grounded_labeler.service import Service
from tests.conftest import SAMPLES, client_of
from tests.helpers.asking import TUTORIAL
from tests.helpers.label_studio import TOKEN, LabelStudio

pytestmark = pytest.mark.slow

LIMITS = Limits(0.3, 0.25)
NAMES = ("demo", "demo")
READER = Reader(Fetcher(), 100_000_000, 100_000_000)
QUERY = InspectionQuery("star . circle", labels=("Star",))


class Counting:
    """Models that count how often each is asked."""

    def __init__(self, models: Models) -> None:
        self.models, self.asked = models, Counter[str]()

    def offer(self) -> Offer:
        return self.models.offer()

    def detect(self, picture: Picture, query: InspectionQuery) -> Inspection:
        self.asked["detect"] += 1
        return self.models.detect(picture, query)

    def segment(
        self, picture: Picture, prompts: VisualPrompts, names: tuple[str, str]
    ) -> Sequence[MaskOfObject]:
        self.asked["segment"] += 1
        return self.models.segment(picture, prompts, names)


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """Serve the routes of a service on loopback; yields their address."""
    with listening(make_server("127.0.0.1", 0, client_of(service).application)) as url:
        yield url


@contextmanager
def listening(server: HTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()


@pytest.fixture
def models(service: Service) -> Counting:
    return Counting(LocalModels(Inspector(service)))


@pytest.fixture
def session() -> Session:
    session = Session(NAMES)
    session.show(READER.file(SAMPLES / "wide.jpg"))
    return session


def test_thresholds_redraw_without_a_run(session: Session, models: Counting) -> None:
    session.find(models, QUERY, LIMITS)
    assert models.asked == {"detect": 1, "segment": 1}
    counts = []
    for box in (0.05, 0.3, 0.6, 1.0):
        limits = Limits(box, 0.0)
        session.drawn(limits)
        session.status(limits)
        counts.append(sum(row.is_kept for row in session.rows(limits)))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0
    assert models.asked == {"detect": 1, "segment": 1}


def test_masks_are_made_once_for_each_box(session: Session, models: Counting) -> None:
    session.find(models, QUERY, Limits(0.9, 0.0))
    made = dict(session.masks)
    lower = Limits(0.05, 0.0)
    assert "no mask yet" in session.status(lower)
    session.make_masks(models, lower)
    assert "no mask yet" not in session.status(lower)
    assert len(session.masks) > len(made)
    assert all(session.masks[key] is mask for key, mask in made.items())
    before = models.asked["segment"]
    session.make_masks(models, lower)
    session.make_masks(models, LIMITS)
    assert models.asked["segment"] == before


def test_clicks_mark_one_object(session: Session, models: Counting, truth: dict[str, Any]) -> None:
    shape = next(one for one in truth["wide.jpg"]["shapes"] if one["name"].endswith("star"))
    x0, y0, x1, y1 = shape["box"]
    session.drawn(LIMITS)
    with pytest.raises(BadRequest, match="Click on the object first"):
        session.click(models, 1, 1, is_positive=False)
    session.click(models, (x0 + x1) / 2, (y0 + y1) / 2, is_positive=True)
    assert session.clicked is not None
    assert session.clicked.full()[int((y0 + y1) / 2), int((x0 + x1) / 2)]
    session.click(models, 2, 2, is_positive=False)
    assert len(session.clicks) == 2
    session.clear_clicks()
    assert not session.clicks


def test_a_click_on_a_scaled_drawing_hits_what_is_seen(models: Counting) -> None:
    session = Session(NAMES)
    pixels = READER.file(SAMPLES / "wide.jpg").image.pixels.repeat(4, axis=0).repeat(4, axis=1)
    session.show(_picture(pixels))
    drawn = session.drawn(LIMITS)
    assert drawn is not None
    assert drawn.shape[1] == 1280
    session.click(models, 640, 400, is_positive=True)
    assert session.clicks == [(1280.0, 800.0, True)]


def test_without_a_segmenter_there_are_boxes(session: Session, models: Counting) -> None:
    session.choose(("demo", "none"))
    session.find(models, QUERY, LIMITS)
    assert session.masks == {}
    assert "mask" not in session.status(LIMITS)
    with pytest.raises(GroundedLabelerError, match="need a segmenter"):
        session.click(models, 9, 9, is_positive=True)


def test_nothing_can_be_done_without_an_image(models: Counting) -> None:
    empty = Session(NAMES)
    assert empty.drawn(LIMITS) is None
    assert empty.rows(LIMITS) == []
    with pytest.raises(BadRequest, match="Choose an image first"):
        empty.find(models, QUERY, LIMITS)
    with pytest.raises(BadRequest, match="Press Find first"):
        empty.label_config(LIMITS)


def test_a_label_config_is_copied_and_can_be_pasted(session: Session, models: Counting) -> None:
    session.find(models, QUERY, LIMITS)
    xml = session.label_config(LIMITS)
    assert [one.value for one in read_label_config(xml).images[0].labels] == ["Star", "circle"]
    rows = session.rows(LIMITS)
    session.find(models, InspectionQuery(None, label_config=xml), LIMITS)
    assert [row.peak for row in session.rows(LIMITS)] == [row.peak for row in rows]


def test_a_sheet_redraws_without_a_run(tmp_path: Path, session: Session, models: Counting) -> None:
    for name in ("tall.jpg", "wide.jpg"):
        (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    (tmp_path / "broken.png").write_bytes(b"broken")
    pictures = Pictures(READER, folder=images_of(tmp_path))
    done: list[int] = []
    many = pictures.many()
    session.find_in_all(models, QUERY, many, lambda number, _: done.append(number))
    assert done == [0, 1, 2]
    assert models.asked == {"detect": 2}
    said = []
    for box in (0.05, 0.3, 1.0):
        drawn = session.sheet(Limits(box, 0.0))
        assert drawn is not None
        said.append(drawn[1])
    assert [int(one.split()[0]) for one in said][-1] == 0
    assert "broken.png: The file is not an image" in said[0]
    session.open_cell(2, 2)
    assert session.picture is not None
    assert session.picture.name == "wide.jpg"
    session.open_cell(400, 100)
    assert session.picture.name == "tall.jpg"
    assert session.rows(LIMITS)
    with pytest.raises(ImageError):
        session.open_cell(20, 20)
    assert models.asked == {"detect": 2}


def test_a_service_shows_the_same_as_models_here(
    service: Service, session: Session, models: Counting
) -> None:
    with serving(service) as url:
        asked = ServiceModels(f"{url}/")
        assert asked.offer() == models.offer()
        picture = session.picture
        assert picture is not None
        ours, theirs = models.detect(picture, QUERY), asked.detect(picture, QUERY)
        phrases = [
            [(one.text, one.negative) for one in seen.prompt.phrases] for seen in (ours, theirs)
        ]
        assert phrases[0] == phrases[1]
        assert theirs.phrase_labels == ours.phrase_labels
        assert theirs.thresholds == ours.thresholds
        for name in ("boxes", "peaks", "means", "captions"):
            assert (getattr(theirs.candidates, name) == getattr(ours.candidates, name)).all()
        boxes = VisualPrompts.of_boxes(detections_of(ours, LIMITS).boxes)
        for one, other in zip(
            models.segment(picture, boxes, NAMES), asked.segment(picture, boxes, NAMES), strict=True
        ):
            assert one.mask is not None
            assert other.mask is not None
            assert (one.mask.full() == other.mask.full()).all()
        with pytest.raises(ServiceError, match="nothing to look for"):
            asked.detect(picture, InspectionQuery(" . "))


def test_a_service_wants_its_login(make_service: Callable[..., Service]) -> None:
    service = make_service(BASIC_AUTH_USER="me", BASIC_AUTH_PASS="secret")
    with serving(service) as url:
        with pytest.raises(ServiceError, match="wants a login: --user"):
            ServiceModels(url).offer()
        with pytest.raises(ServiceError, match="another login"):
            ServiceModels(url, ("me", "wrong")).offer()
        assert ServiceModels(url, ("me", "secret")).offer().segmenters == ("demo", "none")


def test_what_is_no_service_gets_a_sentence(service: Service) -> None:
    files = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    with listening(files) as url, pytest.raises(ServiceError, match="is no grounded-labeler"):
        ServiceModels(url).offer()
    with serving(service) as url, pytest.raises(ServiceError, match="update it"):
        ServiceModels(f"{url}/older").offer()
    with pytest.raises(ServiceError, match="No service answers at"):
        ServiceModels("http://127.0.0.1:1").offer()
    for url in ("localhost:9090", "file:///etc", "http://", "http://me:secret@host"):
        with pytest.raises(SettingsError):
            ServiceModels(url)


class Tasks:
    """A project with one task."""

    def label_config(self) -> str:
        return TUTORIAL

    def first(self, count: int) -> list[Task]:
        return [{"id": 8, "data": {"image": "/data/upload/1/tall.jpg"}}]

    def find(self, number: int) -> Task | None:
        return self.first(1)[0] if number == 8 else None


def test_the_image_of_a_task_is_fetched_with_the_token(label_studio: LabelStudio) -> None:
    origin = Origin(label_studio.url, TOKEN)
    reader = Reader(Fetcher(), 100_000_000, 100_000_000, lambda: origin)
    pictures = Pictures(reader, project=Tasks())
    assert pictures.task(8).name == "task 8"
    assert [name for name, _ in pictures.many()] == ["task 8"]
    with pytest.raises(BadRequest, match="no task 9"):
        pictures.task(9)
    with pytest.raises(BadRequest, match="--project"):
        Pictures(reader).task(8)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("/etc/passwd", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("data:image/png;base64,aaaa", "must begin with http"),
        ("http://127.0.0.1:1/x.png", "ALLOWED_HOSTS"),
        ("http://[", "not a valid URL"),
    ],
)
def test_addresses_are_fetched_by_the_rules_of_the_service(address: str, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        READER.address(address)


def test_every_sample_can_be_chosen() -> None:
    pictures = Pictures(READER)
    assert [pictures.sample(i).name for i in range(len(pictures.samples))] == [
        path.name for path in sorted(SAMPLES.glob("*.jpg"))
    ]


def _picture(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Picture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return READER.picture("large.png", file.getvalue())
