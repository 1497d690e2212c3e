"""Start Training tunes a project in the background, and /tune/<project> says how far it is."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from grounded_labeler.demo.process import HERE, free_port, run_service
from grounded_labeler.demo.shapes import DrawnImage
from grounded_labeler.quality.training import Training
from grounded_labeler.quality.training_state import TrainingState, TrainingStates, now
from grounded_labeler.service import Service
from tests.conftest import MakeClient, client_of
from tests.helpers.asking import IMAGE, PROMPT, view
from tests.helpers.backends import local
from tests.helpers.label_studio import TOKEN
from tests.helpers.models_thread import held
from tests.helpers.serving import wait_until
from tests.label_studio.test_replay import CAPTURES, read
from tests.preannotate.label_studio_server import Project, serve
from tests.quality.drawn import draw

pytestmark = pytest.mark.slow

# "Disc" finds nothing; the demo detector knows it as "circle".
LABELS = '<Label value="Disc" predicted_values="circle"/><Label value="Star"/>'
CONFIG = view(
    PROMPT, IMAGE, f'<RectangleLabels name="label" toName="image">{LABELS}</RectangleLabels>'
)
NAMES = {"circle": "Disc", "star": "Star"}
IMAGES = 30
AUTH = ("anna", "secret")

MakeService = Callable[..., Service]


def regions(drawn: DrawnImage) -> list[dict[str, Any]]:
    height, width = drawn.image.shape[:2]
    made = []
    for number, shape in enumerate(drawn.shapes):
        if shape.kind in NAMES:
            x0, y0, x1, y1 = (float(side) for side in shape.box)
            value = {
                "x": x0 / width * 100, "y": y0 / height * 100, "width": (x1 - x0) / width * 100,
                "height": (y1 - y0) / height * 100, "rotation": 0,
                "rectanglelabels": [NAMES[shape.kind]],
            }  # fmt: skip
            made.append(
                {"id": str(number), "from_name": "label", "to_name": "image", "value": value,
                 "type": "rectanglelabels", "original_width": width, "original_height": height}
            )  # fmt: skip
    return made


@pytest.fixture
def project() -> Iterator[Project]:
    """Thirty annotated tasks of project 7."""
    made = Project(CONFIG)
    for number, drawn in enumerate(draw(IMAGES, seed=70_000)):
        file = io.BytesIO()
        Image.fromarray(drawn.image).save(file, "png")
        task = made.add(f"/data/upload/1/{number}.png", file.getvalue())
        made.annotate(task, regions(drawn))
    with serve(made):
        yield made


@pytest.fixture
def service_of(make_service: MakeService, project: Project, tmp_path: Path) -> MakeService:
    def make(**environ: str) -> Service:
        return make_service(
            LABEL_STUDIO_URL=project.url, DATA_DIR=str(tmp_path / "data"), **environ
        )

    return make


def start(client: FlaskClient, number: object = 7, **named: Any) -> dict[str, Any]:
    event = {"action": "START_TRAINING", "project": {"id": number}}
    response = client.post("/webhook", json=event, **named)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.get_json()
    return answer


def state_of(client: FlaskClient) -> dict[str, Any]:
    response = client.get("/tune/7")
    assert response.status_code == 200, response.text
    state: dict[str, Any] = response.get_json()
    return state


def ended(client: FlaskClient) -> dict[str, Any]:
    wait_until(lambda: state_of(client)["state"] != "running")
    return state_of(client)


def test_a_better_label_config_is_proposed(
    service_of: MakeService, project: Project, tmp_path: Path
) -> None:
    client = client_of(service_of())
    assert client.get("/tune/7").status_code == 404
    job = start(client)["job"]
    state = ended(client)
    assert (state["state"], state["job"], state["error"]) == ("proposed", job, None)
    assert '<Label value="Disc" predicted_values="circle" prompt="circle"' in state["label_config"]
    assert "+<View>" in state["diff"]
    assert project.label_config == CONFIG, "nothing is written"
    assert state["figures"]["project"] == 7
    assert state["figures"]["tasks"] == list(range(1, IMAGES + 1))
    [models] = state["figures"]["models"]
    disc = models["labels"][0]
    assert disc["before"]["found"] == 0
    assert disc["after"]["recall"]["value"] > 0.8
    assert state["model_version"].startswith("demo+demo-")
    kept = json.loads((tmp_path / "data" / "tuning" / "7" / "tuned.json").read_text())
    assert kept["tasks"] == state["figures"]["tasks"]
    page = client.get("/tune/7", headers={"Accept": "text/html,application/xhtml+xml;q=0.9"})
    assert page.content_type == "text/html; charset=utf-8"
    assert "Refresh" not in page.headers
    assert "There is a better label config" in page.text
    assert "&lt;Label value=&#34;Disc&#34;" in page.text


def test_a_better_label_config_is_applied_where_that_is_wanted(
    service_of: MakeService, project: Project
) -> None:
    client = client_of(service_of(START_TRAINING="apply"))
    start(client)
    state = ended(client)
    assert state["state"] == "applied"
    assert project.label_config == state["label_config"]
    assert 'prompt="circle"' in project.label_config
    # What it has now is the best that is known.
    fetched = len(project.fetched)
    start(client)
    state = ended(client)
    assert state["state"] == "unchanged"
    assert state["diff"] == ""
    assert len(project.fetched) <= fetched + 2 * IMAGES


def test_a_second_press_joins_the_first_one_in_whatever_process(service_of: MakeService) -> None:
    service = service_of()
    client, other = client_of(service), client_of(service)
    with held(local(service).queue):
        first = start(client)
        assert start(client) == first
        assert start(other) == first
        assert state_of(other)["state"] == "running"
        page = other.get("/tune/7", headers={"Accept": "text/html"})
        assert page.headers["Refresh"] == "3"
        assert "is being tuned" in page.text
    ended(client)
    assert start(other)["job"] != first["job"]
    ended(client)


def test_a_service_that_ends_ends_the_tuning_and_the_next_one_goes_on(
    service_of: MakeService, project: Project, tmp_path: Path
) -> None:
    service = service_of()
    app = client_of(service)
    training: Training = app.application.extensions["grounded_labeler_training"]
    start(app)
    wait_until(lambda: state_of(app)["done"] >= 10)
    training.stop()
    state = state_of(app)
    assert state["state"] == "ended"
    assert "it goes on where it ended" in state["error"]
    fetched = len(project.fetched)
    again = client_of(service)
    start(again)
    assert ended(again)["state"] == "proposed"
    assert len(set(project.fetched[:fetched])) < IMAGES
    # A thread says that it is done before it ends.
    wait_until(lambda: all(one.name != "tune-7" for one in threading.enumerate()))


def test_a_process_that_died_is_not_running_for_ever(
    service_of: MakeService, tmp_path: Path
) -> None:
    states = TrainingStates(tmp_path / "data" / "tuning")
    client = client_of(service_of())
    lost = TrainingState(project=7, job="tune-7-lost", state="running", started=now())
    with states.begun(lost) as lock:
        assert lock is not None
    assert state_of(client)["state"] == "running"
    states.let_go(lock)
    state = state_of(client)
    assert (state["state"], state["job"]) == ("ended", "tune-7-lost")
    assert "press Start Training again" in state["error"]


def test_off_says_so(service_of: MakeService) -> None:
    client = client_of(service_of(START_TRAINING="off"))
    answer = start(client)
    assert answer == {"message": "START_TRAINING=off says that this service tunes nothing."}
    assert client.get("/tune/7").status_code == 404


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"LABEL_STUDIO_API_KEY": ""}, "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
        ({"LABEL_STUDIO_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
    ],
)
def test_without_label_studio_the_state_says_why(
    make_service: MakeService, environ: dict[str, str], sentence: str
) -> None:
    client = client_of(make_service(**environ))
    start(client)
    state = ended(client)
    assert state["state"] == "failed"
    assert sentence in state["error"]


def test_without_annotations_the_state_says_so(service_of: MakeService, project: Project) -> None:
    project.annotations.clear()
    client = client_of(service_of())
    start(client)
    state = ended(client)
    assert state["state"] == "failed"
    assert "There is no submitted annotation" in state["error"]


def test_a_config_that_was_changed_meanwhile_is_left_alone(
    service_of: MakeService, project: Project
) -> None:
    service = service_of(START_TRAINING="apply")
    client = client_of(service)
    with held(local(service).queue):
        start(client)
        wait_until(lambda: state_of(client)["total"])
        project.label_config = CONFIG.replace("Star", "Sun")
    state = ended(client)
    assert state["state"] == "failed"
    assert "was changed meanwhile" in state["error"]
    assert "Sun" in project.label_config


def test_only_the_login_starts_anything(service_of: MakeService) -> None:
    client = client_of(service_of(BASIC_AUTH_USER=AUTH[0], BASIC_AUTH_PASS=AUTH[1]))
    assert start(client) == {}
    assert client.get("/tune/7").status_code == 401
    assert client.get("/tune/7", auth=AUTH).status_code == 404
    assert start(client, auth=AUTH)["job"].startswith("tune-7-")
    wait_until(lambda: client.get("/tune/7", auth=AUTH).get_json()["state"] != "running")


@pytest.mark.parametrize("number", ["7a", "-7", "²", "..%2F7", "7" * 13, "", "7/../8"])
def test_a_project_is_a_number(make_client: MakeClient, number: str) -> None:
    client = make_client()
    assert client.get(f"/tune/{number}").status_code in (400, 404)
    event = {"action": "START_TRAINING", "project": {"id": number}}
    assert client.post("/webhook", json=event).status_code == 400
    odds: list[object] = [None, {}, [7], 7.5, True]
    for odd in odds:
        other = {"action": "START_TRAINING", "project": {"id": odd}}
        assert client.post("/webhook", json=other).status_code == 400
    assert client.post("/webhook", json={"action": "START_TRAINING"}).status_code == 200


def test_what_label_studio_sends_starts_it(make_client: MakeClient) -> None:
    [path] = [path for path in CAPTURES if "START_TRAINING" in path.name]
    client = make_client()
    response = client.post("/webhook", json=read(path)["body"])
    assert response.get_json()["job"].startswith("tune-1-")
    wait_until(lambda: client.get("/tune/1").get_json()["state"] == "failed")


def test_names_of_labels_are_no_markup(make_client: MakeClient, tmp_path: Path) -> None:
    states = TrainingStates(tmp_path / "tuning")
    hostile = TrainingState(
        project=7, job="<script>1</script>", state="failed", started=now(),
        error="<b>no</b>", sentences=("<i>label</i>: none",), diff="<u>", finished=now(),
    )  # fmt: skip
    with states.begun(hostile) as lock:
        assert lock is not None
        states.let_go(lock)
    page = make_client().get("/tune/7", headers={"Accept": "text/html"})
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for tag in ("<script>", "<b>no", "<i>label", "<u>"):
        assert tag not in page.text


def test_a_few_projects_are_tuned_at_once(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client()
    training: Training = client.application.extensions["grounded_labeler_training"]
    ending = threading.Event()
    others = [threading.Thread(target=ending.wait) for _ in range(4)]
    training._threads += others
    for thread in others:
        thread.start()
    event = {"action": "START_TRAINING", "project": {"id": 7}}
    refused = client.post("/webhook", json=event)
    ending.set()
    assert refused.status_code == 503
    assert "press Start Training again later" in refused.get_json()["error"]
    (tmp_path / "tuning").mkdir()
    for number in range(1000):
        (tmp_path / "tuning" / f"{number + 100}.json").write_text("{}")
    for thread in others:
        thread.join()
    refused = client.post("/webhook", json=event)
    assert "1000 projects were tuned" in refused.get_json()["error"]
    assert client.get("/tune/100").status_code == 404, "what cannot be read is none"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_is_told_to_end_ends_and_the_next_one_goes_on(
    project: Project, tmp_path: Path, workers: str
) -> None:
    environ = {
        "LABEL_STUDIO_URL": project.url, "LABEL_STUDIO_API_KEY": TOKEN, "WORKERS": workers,
        "MODEL_DIR": str(tmp_path), "CPU_THREADS": "1",
    }  # fmt: skip
    event = {"action": "START_TRAINING", "project": {"id": 7}}
    log = tmp_path / "service.log"
    with run_service(free_port(), log, **environ) as url:
        job = HERE.post(f"{url}/webhook", json=event).json()["job"]
        assert HERE.post(f"{url}/webhook", json=event).json()["job"] == job
        wait_until(lambda: HERE.get(f"{url}/tune/7").json()["done"] >= 3)
    state = json.loads((tmp_path / "tuning" / "7.json").read_text())
    assert (state["state"], state["job"]) == ("ended", job)
    assert "Traceback" not in log.read_text()
    with run_service(free_port(), log, **environ) as url:
        assert HERE.get(f"{url}/tune/7").json()["state"] == "ended"
        assert HERE.post(f"{url}/webhook", json=event).json()["job"] != job
        wait_until(lambda: HERE.get(f"{url}/tune/7").json()["state"] != "running")
        assert HERE.get(f"{url}/tune/7").json()["state"] == "proposed"
    assert len(project.fetched) <= 4 * IMAGES


def test_a_state_that_cannot_be_kept_is_said(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("no folder")
    response = make_client().post(
        "/webhook", json={"action": "START_TRAINING", "project": {"id": 7}}
    )
    assert response.status_code == 500
    assert "No state of the tuning can be kept" in response.get_json()["error"]


def test_a_start_that_fails_leaves_the_project_to_the_next_one(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    event = {"action": "START_TRAINING", "project": {"id": 7}}
    in_the_way = tmp_path / "tuning" / "7.json.new"
    in_the_way.mkdir(parents=True)
    refused = client.post("/webhook", json=event)
    assert (refused.status_code, "can be kept" in refused.text) == (500, True)
    in_the_way.rmdir()

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        refused = client.post("/webhook", json=event)
    assert (refused.status_code, "again later" in refused.text) == (503, True)
    assert client.get("/tune/7").get_json()["state"] == "ended"
    assert client.post("/webhook", json=event).get_json()["job"].startswith("tune-7-")
    wait_until(lambda: client.get("/tune/7").get_json()["state"] == "failed")
