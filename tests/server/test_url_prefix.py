"""Behind a proxy under a path, whether or not the proxy removes it."""

import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from grounded_labeler.quality.training import Training
from grounded_labeler.quality.training_state import TrainingState
from grounded_labeler.server.url_prefix import UnderPrefix
from tests.conftest import client_of


@pytest.fixture
def client(make_service: Callable[..., Any]) -> FlaskClient:
    login = {"BASIC_AUTH_USER": "anna", "BASIC_AUTH_PASS": "secret"}
    return client_of(make_service(URL_PREFIX="/labeler", **login))


LOGIN = {"Authorization": f"Basic {base64.b64encode(b'anna:secret').decode()}"}


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/labeler/ready", "/ready"),
        ("/ready", "/ready"),
        ("/labeler", "/"),
        ("/labeler/", "/"),
        ("/labelers/ready", "/labelers/ready"),
        ("/labeler/labeler/ready", "/labeler/ready"),
        ("", ""),
    ],
)
def test_the_application_sees_paths_of_its_own(path: str, seen: str) -> None:
    def app(environ: dict[str, Any], start: object) -> Iterable[bytes]:
        return [environ["PATH_INFO"].encode(), environ["SCRIPT_NAME"].encode()]

    answer = UnderPrefix(app, "/labeler")({"PATH_INFO": path}, None)
    assert list(answer) == [seen.encode(), b"/labeler"]


@pytest.mark.parametrize("prefix", ["", "/labeler"])
def test_routes_and_the_door(client: FlaskClient, prefix: str) -> None:
    for path in ("/", "/health", "/ready"):
        assert client.get(f"{prefix}{path}").status_code == 200
    assert client.get(f"{prefix}/versions").status_code == 401
    assert client.get(f"{prefix}/versions", headers=LOGIN).status_code == 200
    assert client.get(f"{prefix}/nothing", headers=LOGIN).status_code == 404


def test_the_root_of_the_prefix_is_the_root(client: FlaskClient) -> None:
    assert client.get("/labeler").get_json()["status"] == "UP"


@pytest.mark.parametrize("prefix", ["", "/labeler"])
def test_the_document_says_where_the_routes_are(client: FlaskClient, prefix: str) -> None:
    document = json.loads(client.get(f"{prefix}/openapi.json", headers=LOGIN).data)
    assert document["servers"] == [{"url": "/labeler"}]


def test_start_training_names_the_page_with_the_prefix(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = TrainingState(project=7, job="job-1", state="running", started="2026-01-01T00:00:00")
    monkeypatch.setattr(Training, "start", lambda self, project: state)
    event = {"action": "START_TRAINING", "project": {"id": 7}}
    said = client.post("/labeler/webhook", json=event, headers=LOGIN).get_json()
    assert said["message"] == "See /labeler/tune/7 of this service."
