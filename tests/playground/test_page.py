"""The page as Gradio has it: nothing is fetched, and nothing of it leads elsewhere."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from grounded_labeler.images.fetcher import Fetcher
from grounded_labeler.playground.models import Models, Picture
from grounded_labeler.playground.pictures import Pictures, Reader
from grounded_labeler.playground.serving import page_app, prepare_gradio
from grounded_labeler.server.inspector import Inspection, InspectionQuery, Offer, OfferedDetector

pytestmark = pytest.mark.slow  # Gradio takes seconds to import

READER = Reader(Fetcher(), 1_000_000, 1_000_000)


class NoModels:
    """Models that are offered and never run."""

    def offer(self) -> Offer:
        return Offer((OfferedDetector("demo", 0.3, 0.25),), ("demo", "none"))

    def detect(self, picture: Picture, query: InspectionQuery) -> Inspection:
        raise AssertionError("a model ran")

    def segment(self, *_: object) -> Any:
        raise AssertionError("a model ran")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    before = dict(os.environ)
    models: Models = NoModels()
    folder = tmp_path_factory.mktemp("gradio")
    prepare_gradio(folder)
    try:
        app = page_app(models, Pictures(READER), 1_000_000, folder)
        with TestClient(app, base_url="http://127.0.0.1:7860") as client:
            yield client
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_the_page_names_no_font_or_script_of_another_host(client: TestClient) -> None:
    page = client.get("/").text
    for host in ("googleapis", "gstatic", "cdnjs", "jsdelivr", "unpkg"):
        assert host not in page
    assert client.get("/config").json()["analytics_enabled"] is False


def asked(client: TestClient, name: str, *data: object) -> str:
    """What the event stream says of one call of the function of that name."""
    functions = client.get("/config").json()["dependencies"]
    number = next(one["id"] for one in functions if one["api_name"] == name)
    body = {"data": list(data), "fn_index": number, "session_hash": "abc"}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200
    return client.get("/gradio_api/queue/data", params={"session_hash": "abc"}).text


@pytest.mark.parametrize("path", ["http://127.0.0.1:1/x.png", "https://example.com/x.png"])
def test_an_upload_that_is_an_address_is_not_fetched(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    from gradio import processing_utils

    fetched: list[str] = []

    async def fetch(url: str, *_: object, **__: object) -> str:
        fetched.append(url)
        return ""

    for name in ("async_ssrf_protected_download", "ssrf_protected_download"):
        monkeypatch.setattr(processing_utils, name, fetch)
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    answer = asked(client, "upload", None, file, 0.3, 0.25)
    assert '"success":false' in answer.replace(" ", "")
    assert fetched == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../../../etc/passwd", __file__])
@pytest.mark.parametrize(
    ("name", "others"), [("upload", ()), ("address", ()), ("find", ("", "demo", "none"))]
)
def test_no_component_takes_a_file_of_the_machine(
    client: TestClient, name: str, others: tuple[str, ...], path: str
) -> None:
    """Not only the one for uploads: Gradio looks for files in what any of them is given."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    answer = asked(client, name, None, file, *others, 0.3, 0.25)
    assert '"success":false' in answer.replace(" ", "")
    assert "root:" not in answer
    assert "Traceback" not in answer


def test_a_file_that_was_uploaded_is_shown(client: TestClient) -> None:
    sample = Path(__file__).parents[2] / "grounded_labeler" / "demo" / "samples" / "wide.jpg"
    [path] = client.post("/gradio_api/upload", files={"files": sample.open("rb")}).json()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    answer = asked(client, "upload", None, file, 0.3, 0.25)
    last = json.loads(answer.strip().splitlines()[-1].removeprefix("data: "))
    assert "640 x 480 pixels" in answer, last
