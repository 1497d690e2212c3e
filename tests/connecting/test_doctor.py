"""`grounded-labeler doctor`: each check where it passes and where it does not."""

import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from grounded_labeler.cli.doctor import main
from grounded_labeler.connecting import label_studio, machine, model_files
from grounded_labeler.connecting.doctor import examine
from grounded_labeler.connecting.findings import Check, Finding, Status, ok
from grounded_labeler.connecting.service_at import NotReachable, ServiceAt, ServiceError
from grounded_labeler.demo.process import free_port
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.export import export_dir
from grounded_labeler.models.runtime.facts import FACTS, write_sums
from grounded_labeler.settings import Settings
from tests.conftest import SAMPLES, MakeClient
from tests.connecting.label_studio import (
    LEGACY_OFF,
    ConnectableProject,
    StandingService,
    refusal,
    serving,
)
from tests.helpers.asking import IMAGE, RECTANGLES, TUTORIAL, view
from tests.helpers.certificates import make_certificate
from tests.helpers.label_studio import TOKEN
from tests.helpers.serving import PATIENCE_S
from tests.preannotate.label_studio_server import serve

CARD = "NVIDIA H100, {}, {}, 81559\n"
GIB = 2**30
Examined = Callable[..., list[Finding]]


def worst(found: list[Finding]) -> Status:
    return max((one.status for one in found), key=list(Status).index)


@pytest.fixture
def project() -> Iterator[ConnectableProject]:
    """A project that is connected, with an uploaded image and one that is nowhere."""
    with serve(ConnectableProject(TUTORIAL)) as running:
        assert isinstance(running, ConnectableProject)
        running.backends.append({"id": 1, "title": "x", "url": "x", "is_interactive": True})
        running.add("/data/upload/1/a.jpg", (SAMPLES / "wide.jpg").read_bytes())
        yield running


@pytest.fixture
def environ(project: ConnectableProject, tmp_path: Path) -> dict[str, str]:
    """Settings of a service with the demo models, that does not run."""
    return {
        "DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(tmp_path / "models"),
        "LABEL_STUDIO_URL": project.url, "LABEL_STUDIO_API_KEY": TOKEN, "PORT": str(free_port()),
        "PATH": "/usr/bin:/bin", "CPU_THREADS": "1",
    }  # fmt: skip


def test_every_check_ends_in_time() -> None:
    go_on = threading.Event()

    def look() -> list[Finding]:
        go_on.wait()
        return []

    [late] = Check("slow", 0.05, look).run()
    go_on.set()
    assert (late.status, late.text) == (Status.FAIL, "no result within 0.05 seconds")
    assert late.remedy


def test_a_check_that_cannot_go_on_has_failed_and_a_mistake_is_raised() -> None:
    def look() -> Iterator[Finding]:
        yield ok("weights", "first")
        raise WeightsError("Weights are missing: run it.")

    assert Check("weights", 600, look).run() == [
        ok("weights", "first"),
        Finding("weights", Status.FAIL, "Weights are missing: run it."),
    ]
    with pytest.raises(ZeroDivisionError):
        Check("weights", 60, lambda: [ok("weights", str(1 // 0))]).run()


def test_versions_name_what_computes() -> None:
    [found] = machine.versions()
    assert found.status is Status.OK
    assert f"Python {sys.version.split()[0]}" in found.text
    assert "openvino " in found.text


@pytest.mark.parametrize(
    ("driver", "capability", "device", "status", "said"),
    [
        ("580.65.06", "9.0", "cuda", Status.OK, "driver 580.65.06"),
        ("580.65.06", "7.5", "cuda", Status.OK, "compute capability 7.5"),
        ("570.10", "9.0", "cuda", Status.FAIL, "driver 580 or newer"),
        ("580.65.06", "7.0", "cuda", Status.WARN, "7.5 or more"),
        ("580.65.06", "9.0", "cpu", Status.WARN, "whose PyTorch has CUDA in it"),
    ],
)
def test_cards_and_drivers(
    driver: str, capability: str, device: str, status: Status, said: str
) -> None:
    found = machine.devices(lambda: CARD.format(driver, capability), lambda: device)
    assert worst(found) is status
    assert said in " ".join(one.text + one.remedy for one in found)


def test_without_a_card_pytorch_is_not_asked() -> None:
    def never() -> str:
        raise AssertionError

    [found] = machine.devices(lambda: None, never)
    assert found.text.endswith("no NVIDIA card")


@pytest.mark.parametrize(
    ("available", "limit", "status"),
    [(8, "max", Status.OK), (1, "max", Status.WARN), (8, f"{1 * GIB}", Status.WARN),
     (8, f"{7 * GIB}", Status.OK), (8, None, Status.OK)],
)  # fmt: skip
def test_memory_of_the_machine_or_of_its_container(
    tmp_path: Path, environ: dict[str, str], available: int, limit: str | None, status: Status
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 1 kB\nMemAvailable: {available * 1024 * 1024} kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{GIB // 2}\n")
    [found] = machine.memory(Settings.from_env(environ), meminfo, tmp_path)
    assert found.status is status
    assert "about 1.3 GiB needed" in found.text


def test_weights_that_are_missing_are_named_with_the_command(environ: dict[str, str]) -> None:
    settings = Settings.from_env(environ | {"DETECTOR": "llmdet-tiny"})
    missing, demo = model_files.weights(settings)
    assert missing.status is Status.FAIL
    assert "Run `make weights` to download them" in missing.text
    assert demo.text.startswith("demo (segmenter): here, sums are right")


def test_graphs_that_are_not_here_are_a_warning_where_pytorch_is(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_env(environ)
    detector, segmenter = model_files.graphs(settings)
    assert detector.status is segmenter.status is Status.WARN
    assert "Run `make weights` to make them." in detector.remedy
    monkeypatch.setattr(model_files, "find_spec", lambda _: None)
    assert worst(list(model_files.graphs(settings))) is Status.FAIL


def test_graphs_that_are_here_and_damaged_ones(environ: dict[str, str]) -> None:
    settings = Settings.from_env(environ)
    for model in settings.offered.models(settings.model_dir):
        folder = export_dir(model, settings.model_dir)
        folder.mkdir(parents=True)
        (folder / FACTS).write_text("{}")
        write_sums(folder)
    assert [one.text for one in model_files.graphs(settings)] == [
        "demo (detector): here", "demo (segmenter): here",
    ]  # fmt: skip
    (folder / FACTS).write_text("{ }")
    detector, segmenter = model_files.graphs(settings)
    assert (detector.status, segmenter.status) == (Status.OK, Status.FAIL)
    assert "demo (segmenter): damaged, in " in segmenter.text


def test_a_service_that_runs_says_how_it_is() -> None:
    up = {"status": "UP", "models": "ready", "version": "1", "device": "cpu", "model": "demo"}
    down = up | {"status": "DOWN", "models": "stuck", "error": "A batch runs too long: restart."}
    for health, status, said in (
        ((200, up), Status.OK, "ready, version 1, model demo, device cpu"),
        ((503, down), Status.FAIL, "restart"),
        ((404, None), Status.FAIL, "is no grounded-labeler"),
    ):
        with serve(StandingService("", health=health)) as running:
            at = ServiceAt(running.url, None, 60)
            [found] = Check("service", 60, lambda at=at: model_files.service(at)).run()  # type: ignore[misc]
        assert found.status is status
        assert said in found.text + found.remedy


def test_a_certificate_that_nobody_knows_is_no_service_that_is_away(
    make_client: MakeClient, tmp_path: Path
) -> None:
    with serving(make_client(), make_certificate(tmp_path, "labeler")) as url:
        [found] = model_files.service(ServiceAt(url, None, 600, is_here=True))
        assert found.status is Status.OK
        with pytest.raises(NotReachable, match=r"does not trust .* SSL_CERT_FILE"):
            ServiceAt(url, None, 600).check_ready()


def test_a_service_that_runs_is_asked_and_nothing_is_loaded(
    environ: dict[str, str], make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.run", None)
    with serving(make_client()) as url:
        [found] = model_files.prediction(
            Settings.from_env(environ), ServiceAt(url, None, 600), environ, 600
        )
    assert found.status is Status.OK
    assert f"shapes in the bundled image, of the service at {url}" in found.text


@pytest.mark.slow
def test_without_weights_the_demo_models_show_that_the_rest_works(environ: dict[str, str]) -> None:
    settings = Settings.from_env(environ | {"DETECTOR": "llmdet-tiny"})
    at = ServiceAt(f"http://127.0.0.1:{settings.port}", None, 60)
    [found] = model_files.prediction(settings, at, environ, 600)
    assert found.status is Status.OK, found
    assert "with the demo models, as the weights of the others are not here" in found.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import time; time.sleep(600)", "none within 0.5 seconds"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import sys; sys.exit('The card is gone.')", "The card is gone."),
    ],
)
def test_a_prediction_that_fails_or_hangs_is_ended(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}"\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    settings = Settings.from_env(environ)
    at = ServiceAt(f"http://127.0.0.1:{settings.port}", None, 60)
    limit = 0.5 if "sleep" in script else 600
    [found] = model_files.prediction(settings, at, environ, limit)
    assert found.status is Status.FAIL
    assert said in found.text


def test_label_studio_and_its_token(project: ConnectableProject, environ: dict[str, str]) -> None:
    settings = Settings.from_env(environ)
    [found] = label_studio.label_studio(settings)
    assert found.status is Status.OK
    assert "version 1.23.2, the legacy token works, of user annotator@example.com" in found.text
    project.refusals["GET /api/current-user"] = refusal(401, LEGACY_OFF)
    [found] = label_studio.label_studio(settings)
    assert found.status is Status.FAIL
    assert "is a legacy token, and this Label Studio has those switched off" in found.text


def test_a_label_studio_that_does_not_answer(environ: dict[str, str]) -> None:
    gone = environ | {"LABEL_STUDIO_URL": f"http://127.0.0.1:{free_port()}"}
    [found] = label_studio.label_studio(Settings.from_env(gone))
    assert found.status is Status.FAIL
    assert "does not answer" in found.text
    unset = {key: value for key, value in environ.items() if "LABEL_STUDIO" not in key}
    [found] = label_studio.label_studio(Settings.from_env(unset))
    assert found.status is Status.WARN


def test_images_of_each_place_are_tried(
    project: ConnectableProject, environ: dict[str, str]
) -> None:
    settings = Settings.from_env(environ)
    assert worst(list(label_studio.project(settings, 7))) is Status.OK
    project.add("s3://bucket/gone.jpg")
    project.add("http://127.0.0.1:9/private.jpg")
    found = {one.text.split(": ")[0]: one for one in label_studio.project(settings, 7)}
    assert found["uploads"].status is Status.OK
    assert "1 of 1" in found["uploads"].text
    assert found["s3://bucket"].status is Status.FAIL
    assert "0 of 1 that were tried can be read; task 2:" in found["s3://bucket"].text
    assert "ALLOWED_HOSTS" in found["http://127.0.0.1"].text


def test_a_storage_behind_many_other_tasks_is_found(
    project: ConnectableProject, environ: dict[str, str]
) -> None:
    for number in range(120):
        here = f"/data/local-files/?d=deep/{number}.jpg" if number == 60 else f"/data/u{number}.jpg"
        project.add(here, b"")
    project.storages.append({"id": 1, "type": "localfiles", "title": "NAS", "path": "/nas/deep"})
    found = [one.text for one in label_studio.project(Settings.from_env(environ), 7)]
    assert any(text.startswith("local files of Label Studio: 0 of 1") for text in found)


@pytest.mark.parametrize(
    ("config", "status", "said"),
    [
        (view(IMAGE, RECTANGLES), Status.WARN, "lacks a field for prompts"),
        ('<View><Text name="t" value="$t"/></View>', Status.FAIL, "<Image>"),
    ],
)
def test_a_project_that_lacks_something(
    project: ConnectableProject, environ: dict[str, str], config: str, status: Status, said: str
) -> None:
    project.label_config = config
    found = next(iter(label_studio.project(Settings.from_env(environ), 7)))
    assert found.status is status
    assert said in found.text
    assert "grounded-labeler connect --project 7" in found.remedy


def test_a_project_that_is_not_there(environ: dict[str, str]) -> None:
    [found] = label_studio.project(Settings.from_env(environ), 8)
    assert "There is no project 8" in found.text


def test_no_secret_is_shown_whatever_repeats_it(
    project: ConnectableProject, environ: dict[str, str]
) -> None:
    project.refusals["GET /api/current-user"] = refusal(401, f"Bad token {TOKEN}")
    project.refusals["GET /api/projects"] = refusal(400, f"Bad token {TOKEN}")
    # With models on a cluster, none is loaded here.
    found = list(examine(environ | {"RAY_ADDRESS": "127.0.0.1:6379"}, 7))
    assert [one.status for one in found if one.check == "prediction"] == [Status.WARN]
    assert "***" in " ".join(one.text for one in found)
    assert TOKEN not in " ".join(one.text + one.remedy for one in found)


@pytest.mark.slow
def test_the_command_ends_with_1_where_something_fails(
    project: ConnectableProject, environ: dict[str, str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["--project", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "warn") for line in lines)
    assert lines[-1].startswith("ok    prediction: ")
    monkeypatch.setenv("DETECTOR", "none of these")
    assert main(["--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in found] == ["versions", "devices", "settings"]
    assert found[-1]["status"] == "fail"


def answering(reply: bytes) -> Callable[[socket.socket], None]:
    """What one connection gets, whatever it asks; of nothing it is left waiting."""

    def answer(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                if reply:
                    connection.recv(65_536)
                    connection.sendall(reply)
                    connection.close()

    return answer


def http_json(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:"
    return f"{head} {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "is no grounded-labeler"),
        (http_json(b'{"models": "ready"}'), "is no grounded-labeler"),
        (http_json(b'"models version"'), "is no grounded-labeler"),
        (b"", "does not answer within 0.2 seconds"),
    ],
)
def test_what_else_answers_at_the_port_is_no_service(
    environ: dict[str, str], reply: bytes, said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answering(reply), args=(listener,), daemon=True).start()
        at = ServiceAt(f"http://127.0.0.1:{listener.getsockname()[1]}", None, 0.2)
        settings = Settings.from_env(environ)
        for look in (
            lambda: model_files.service(at),
            lambda: model_files.prediction(settings, at, environ, 1),
        ):
            [found] = Check("service", PATIENCE_S, look).run()
            assert found.status is Status.FAIL
            assert said in found.text
        listener.shutdown(socket.SHUT_RDWR)


def test_a_service_of_this_machine_may_have_a_certificate_of_another_name(tmp_path: Path) -> None:
    up = Response('{"models": "ready", "version": "1"}', content_type="application/json")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path, "a"))
    server = make_server("127.0.0.1", 0, up, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"https://127.0.0.1:{server.server_port}"
    try:
        assert ServiceAt(url, None, 60, is_here=True).health()["version"] == "1"
        with pytest.raises(NotReachable, match="SSL_CERT_FILE"):
            ServiceAt(url, None, 60).health()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail\r\n"])
def test_https_at_a_service_without_tls_is_a_mistake_and_not_an_address_of_label_studio(
    reply: bytes,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answering(reply), args=(listener,), daemon=True).start()
        at = ServiceAt(f"https://127.0.0.1:{listener.getsockname()[1]}", None, 60)
        with pytest.raises(ServiceError, match=r"does not answer with TLS: write http://") as error:
            at.check_ready()
        assert not isinstance(error.value, NotReachable)
        listener.shutdown(socket.SHUT_RDWR)


def test_what_keeps_the_service_from_starting_is_found(
    environ: dict[str, str], tmp_path: Path
) -> None:
    cert, _ = make_certificate(tmp_path, "a")
    _, key = make_certificate(tmp_path, "b")
    wrong = {"TLS_CERT": str(cert), "TLS_KEY": str(key), "MODEL_DIR": str(tmp_path / "none")}
    found = next(one for one in examine(environ | wrong, None) if one.check == "start")
    assert found.status is Status.FAIL
    assert "cannot be used (key values mismatch)" in found.text
    found = next(one for one in examine(environ, None) if one.check == "start")
    assert found.status is Status.OK
