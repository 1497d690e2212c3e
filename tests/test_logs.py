"""What the log says, in both formats, of a service run in earnest; and what it never says."""

import base64
import json
from pathlib import Path

import pytest

from grounded_labeler.__about__ import __version__
from grounded_labeler.demo.process import HERE, free_port, run_service
from tests.conftest import SAMPLES
from tests.helpers.asking import body, typed
from tests.helpers.label_studio import LabelStudio
from tests.helpers.serving import PATIENCE_S

pytestmark = pytest.mark.slow

SECRETS = {
    "LABEL_STUDIO_API_KEY": "5ecre7" * 6 + "7e57",
    "BASIC_AUTH_USER": "annotators",
    "BASIC_AUTH_PASS": "pa55-of-the-annotators",
}
OTHERS_TOKEN = "70cen-from-setup" * 2
SIGNATURE = "X-Amz-Signature=5igna7ure"


def run_and_log(label_studio: LabelStudio, log: Path, **environ: str) -> list[str]:
    """The lines of a service that was asked all sorts of things."""
    auth = (SECRETS["BASIC_AUTH_USER"], SECRETS["BASIC_AUTH_PASS"])
    image = base64.b64encode((SAMPLES / "wide.jpg").read_bytes()).decode()
    images = [
        f"data:image/jpeg;base64,{image}",
        "/data/upload/1/wide.jpg",  # the stand-in does not know this token: 401
        f"http://127.0.0.1:9/a.jpg?{SIGNATURE}",
        f"{label_studio.url}/data/upload/1/missing.jpg?{SIGNATURE}",
    ]
    settings = {"LABEL_STUDIO_URL": label_studio.url, "LOG_LEVEL": "DEBUG", **SECRETS}
    with run_service(free_port(), log, **(settings | environ)) as url:
        setup = {"project": "1.2", "schema": body([])["label_config"], "access_token": OTHERS_TOKEN}
        assert HERE.post(f"{url}/setup", json=setup, auth=auth, timeout=PATIENCE_S).ok
        assert HERE.post(f"{url}/setup", json=setup, timeout=PATIENCE_S).status_code == 401
        wrong = (auth[0], "wr0ng-pa55")
        assert (
            HERE.post(f"{url}/setup", json=setup, auth=wrong, timeout=PATIENCE_S).status_code == 401
        )
        for context in (None, typed("red circle")):
            asked = HERE.post(
                f"{url}/predict", json=body(images, context), auth=auth, timeout=PATIENCE_S
            )
            assert asked.ok, asked.text
        assert not HERE.post(f"{url}/predict", data=b"{", auth=auth, timeout=PATIENCE_S).ok
        for path in ("/health", "/ready", "/metrics"):
            assert HERE.get(f"{url}{path}", auth=auth, timeout=PATIENCE_S).ok
        assert HERE.get(f"{url}/metrics", timeout=PATIENCE_S).status_code == 401
    return log.read_text().splitlines()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_one_line_a_task_and_no_secret(
    label_studio: LabelStudio, tmp_path: Path, log_format: str
) -> None:
    lines = run_and_log(label_studio, tmp_path / "log", LOG_FORMAT=log_format)
    text = "\n".join(lines)
    secrets = [SECRETS["LABEL_STUDIO_API_KEY"], SECRETS["BASIC_AUTH_PASS"], OTHERS_TOKEN]
    for secret in (*secrets, "wr0ng-pa55", SIGNATURE, "base64,"):
        assert secret not in text
    for task in (1, 2, 3, 4):
        assert sum(f"task {task}:" in line for line in lines) == 2, text
    project = body([])["project"]
    assert f"project {project}, task 1: 640x480, 1 phrases, 1 found; ms: fetch" in text
    assert "task 2: Label Studio refused the token (401)" in text
    assert "Traceback" not in text
    assert "red circle" not in text  # typed
    [start] = [line for line in lines if "grounded_labeler.server.start_line" in line]
    assert f"grounded-labeler {__version__}: models demo+demo, device cpu, precision auto" in start
    assert "limits: THREADS=16, REQUEST_DEADLINE=90.0," in start
    assert not any(
        " gunicorn.access: " in line or '"logger": "gunicorn.access"' in line for line in lines
    )
    asked = [line for line in lines if "grounded_labeler.server.observation" in line]
    assert any("POST /predict: 200 in" in line for line in asked)
    assert any("POST /predict: 400 in" in line for line in asked)
    of_probes = [line for line in asked if any(p in line for p in ("/health", "/ready", "/metr"))]
    assert all(": 503 in" in line or ": 401 in" in line for line in of_probes), of_probes
    assert any("/metrics" in line for line in of_probes)
    if log_format == "json":
        entries = [json.loads(line) for line in lines]
        assert {"time", "level", "logger", "process", "message"} <= set(entries[0])
        assert {"gunicorn.error", "grounded_labeler.label_studio.prediction_builder"} <= {
            e["logger"] for e in entries
        }
        [found] = [e for e in entries if e.get("task") == 1 and e.get("phrases") == 1]
        assert (found["width"], found["height"], found["found"]) == (640, 480, 1)
        assert {"fetch_ms", "decode_ms", "detect_ms", "segment_ms", "encode_ms"} <= set(found)
        own = [e for e in entries if e.get("request_id") == found["request_id"]]
        assert {e.get("task") for e in own} == {1, 2, 3, 4, None}
        assert all(e["project"] == project for e in own)
        [access] = [e for e in own if e.get("route") == "/predict"]
        assert (access["method"], access["status"]) == ("POST", 200)
        [first] = [e for e in entries if e["logger"] == "grounded_labeler.server.start_line"]
        assert (first["version"], first["limits"]["max_tasks"]) == (__version__, 100_000)


def test_what_strangers_send_cannot_look_like_a_line_of_ours(
    label_studio: LabelStudio, tmp_path: Path
) -> None:
    forged = "2026-01-01T00:00:00.000+00:00 [1] ERROR forged"
    log = tmp_path / "log"
    with run_service(free_port(), log, LABEL_STUDIO_URL=label_studio.url) as url:
        HERE.post(f"{url}/predict%0a{forged}", data=b"{", timeout=PATIENCE_S)
        HERE.post(
            f"{url}/predict", json={"project": f"1\n{forged}", "tasks": []}, timeout=PATIENCE_S
        )
        request = body(["/data/upload/1/missing.jpg", f"http://{'a' * 9000}/"])
        request["tasks"][0]["id"] = f"7\n{forged}"
        assert HERE.post(f"{url}/predict", json=request, timeout=PATIENCE_S).ok
    lines = log.read_text().splitlines()
    assert not any(line.startswith(forged) for line in lines)
    assert sum(forged in line for line in lines) >= 1
    assert max(map(len, lines)) < 2200
