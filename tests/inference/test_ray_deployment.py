"""The models as a deployment of Ray Serve answer as those of this process do."""

import asyncio
import contextlib
import importlib
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import ray
import requests
from ray import serve

from grounded_labeler.cache import ByteCache
from grounded_labeler.cli import deploy
from grounded_labeler.core.inference import InferenceRequest, InferenceResult, Request
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.demo.process import ROOT, free_port, run_service, running
from grounded_labeler.errors import (
    CallerGone,
    NotReady,
    OutOfMemory,
    PromptError,
    SettingsError,
    StillLoading,
)
from grounded_labeler.inference import ray_connection
from grounded_labeler.inference import ray_deployment as cluster
from grounded_labeler.inference.backend import Priority
from grounded_labeler.inference.loader import check_models, load_pipeline
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.pool import ModelPool
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.inference.ray_client import RayBackend
from grounded_labeler.inference.ray_connection import APP, DeploymentInfo, connect
from grounded_labeler.inference.ray_deployment import Replica, ScalingConfig, application
from grounded_labeler.label_studio.rendering import label_of
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.prompts.factory import open_store
from grounded_labeler.service import Service, start_service
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.offer import offered_models
from grounded_labeler.weights.summary import summarize_all
from tests.conftest import SAMPLES, client_of
from tests.helpers.asking import TUTORIAL, body, of_type, predict, status_of, typed
from tests.helpers.blind import make_blind
from tests.helpers.clocks import FakeClock
from tests.helpers.drawing import click
from tests.helpers.label_studio import LabelStudio
from tests.helpers.loaders import Loader, Model
from tests.helpers.prompt_servers import run_postgresql
from tests.helpers.ray_processes import actors, kill
from tests.helpers.serving import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

DEMO = {"DETECTOR": "demo", "SEGMENTER": "demo", "LABEL_STUDIO_URL": "http://127.0.0.1:9"}
# What is typed is no part of the version of the next answer.
SAME = {"PREANNOTATE": "labels"}
REPLICAS = 2
NAMES = sorted(sample.name for sample in SAMPLES.glob("*.jpg"))
THRESHOLDS = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=300)
PRE = Priority.PREANNOTATION
Environ = dict[str, str]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of one's own, which finds nothing."""
    return make_blind(tmp_path_factory.mktemp("own") / "blind")


@pytest.fixture(scope="module")
def deployed(ray_cluster: str, own: Path) -> Iterator[str]:
    """The address of a cluster that serves the demo models, which keep nothing of images."""
    with pytest.MonkeyPatch.context() as patch:
        models = {"MODELS": f"demo+demo,{own}+demo"}
        for name, value in (DEMO | models | {"CACHE_BYTES": "0"}).items():
            patch.setenv(name, value)
        serve.start(http_options={"location": "NoServer"})
        # As many threads each as the models of this process: the same sums in the same order.
        scale = ScalingConfig(min_replicas=REPLICAS, max_replicas=REPLICAS, cpus=1)
        serve.run(application(scale, Settings.from_env(os.environ)), name=APP, route_prefix=None)
    yield ray_cluster
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray_connection._kept_handle.cache_clear()


@pytest.fixture
def front(deployed: str, make_service: Callable[..., Service]) -> Service:
    """A service whose models are those of the cluster, with all the time it needs."""
    service = make_service(RAY_ADDRESS=deployed, REQUEST_DEADLINE="3600", **SAME)
    backend = RayBackend(service.settings)
    backend.wait_until_ready(PATIENCE_S)
    return replace(service, backend=backend)


def plain(predictions: Sequence[dict[str, Any]]) -> str:
    """All of them but what is new each time: the regions' ids, and how long it took."""
    bare = [
        one | {"result": [{**region, "id": ""} for region in one["result"]]} for one in predictions
    ]
    return re.sub(r"Took [0-9.]+ s", "", json.dumps(bare))


@pytest.mark.parametrize("asked", [None, typed("blue star . red circle . anything")])
def test_answers_are_those_of_one_process_exactly(
    front: Service, make_service: Callable[..., Service], asked: dict[str, Any] | None
) -> None:
    request = body([f"/data/upload/1/{name}" for name in NAMES * 5], asked)
    here = predict(client_of(make_service(**SAME)), request)
    there = predict(client_of(front), request)
    assert plain(there) == plain(here)
    assert all(one["result"] for one in here)


def test_a_project_has_the_models_of_the_cluster_that_it_chose(
    deployed: str, own: Path, make_service: Callable[..., Service]
) -> None:
    environ = SAME | {"MODELS": f"demo+demo,{own}+demo", "REQUEST_DEADLINE": "3600"}
    here = client_of(make_service(**environ))
    service = make_service(RAY_ADDRESS=deployed, **environ)
    backend = RayBackend(service.settings)
    backend.wait_until_ready(PATIENCE_S)
    there = client_of(replace(service, backend=backend))
    configs = [
        TUTORIAL.replace("<TextArea", f"<TextArea {names}", 1)
        for names in (f'detector="{own}"', 'segmenter="none"', "")
    ]
    image = "/data/upload/1/wide.jpg"
    kinds = []
    for config in configs:
        [prediction] = predict(there, body([image], config=config))
        kinds.append({one["type"] for one in prediction["result"]} - {"textarea"})
    assert kinds == [set(), {"rectanglelabels"}, {"brushlabels"}]
    setups = [{"project": "1.1", "schema": config} for config in configs]
    expected = [here.post("/setup", json=one).get_json()["model_version"] for one in setups]
    away = own.rename(own.with_name("away"))  # as on a machine that has not this model
    try:
        versions = [there.post("/setup", json=one).get_json()["model_version"] for one in setups]
    finally:
        away.rename(own)
    assert versions == expected
    assert len(set(versions)) == len(configs)


def test_killed_replicas_lose_no_task(front: Service, make_service: Callable[..., Service]) -> None:
    images = [f"/data/upload/1/{name}" for name in NAMES * 5]
    expected = plain(predict(client_of(make_service(**SAME)), body(images)))
    before, stop = actors("Replica"), threading.Event()
    killed: list[int] = []

    def keep_killing() -> None:
        while len(killed) < 3 and not stop.wait(0.1):
            running = sorted(actors("Replica") - set(killed))
            if len(running) == REPLICAS:  # one stays while the other is put back
                killed.append(running[len(killed) % REPLICAS])
                kill(killed[-1])

    with ThreadPoolExecutor(5) as clients:
        killing = clients.submit(keep_killing)
        try:
            while not killing.done():
                asked = [clients.submit(predict, client_of(front), body(images)) for _ in range(3)]
                for one in asked:
                    predictions = one.result()
                    assert [each["error"] for each in predictions if "error" in each] == []
                    assert plain(predictions) == expected
        finally:
            stop.set()
    killing.result()
    assert len(killed) == 3
    assert len(before) == REPLICAS


def job(phrase: str) -> InferenceRequest:
    image = DecodedImage.of(np.full((96, 128, 3), 200, np.uint8))
    return InferenceRequest(image, parse_prompt(phrase, ()), (), THRESHOLDS, with_masks=False)


def test_what_a_prompt_does_wrong_is_told_as_it_is_here(front: Service) -> None:
    long = "very " * 300 + "long car"
    with pytest.raises(PromptError) as there:
        front.backend.run([job("car"), job(long)], lambda: False, 60, PRE)
    with pytest.raises(PromptError) as here:
        models_of_this_process().run([job(long)])
    assert str(there.value) == str(here.value)
    request = body(["/data/upload/1/wide.jpg"], typed(long))
    [answer] = predict(client_of(front), request)
    assert status_of(answer["result"]) == str(here.value)


def test_clicks_get_the_mask_of_one_process(
    front: Service, make_service: Callable[..., Service]
) -> None:
    config = TUTORIAL.replace("<View>", '<View><KeyPointLabels name="points" toName="image"/>')
    clicks = {"result": [click(18, 58), click(90, 10, positive=False)]}
    request = body(["/data/upload/1/wide.jpg"], clicks, config)
    here = predict(client_of(make_service(**SAME)), request)
    there = predict(client_of(front), request)
    assert plain(there) == plain(here)
    assert here[0]["result"][0]["type"] == "brushlabels"


def models_of_this_process() -> Pipeline:
    return load_pipeline(Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "none"}), ByteCache(0))


def test_nothing_is_waited_for_by_who_has_gone_or_has_no_time(front: Service) -> None:
    looks = iter([False, True])
    jobs = [job("car")] * 200
    with pytest.raises(CallerGone):
        front.backend.run(jobs, lambda: next(looks), 60, PRE)
    with pytest.raises(CallerGone):
        front.backend.run(jobs, lambda: True, 60, PRE)
    with pytest.raises(NotReady, match="busy"):
        front.backend.run(jobs, lambda: False, 0, PRE)
    [found] = front.backend.run([job("car")], lambda: False, 60, PRE)
    assert found.size_hw == (96, 128)


@contextmanager
def client_server(cluster: str, log: Path, port: int) -> Iterator[str]:
    """Where those who are on no node of the cluster ask it; the head of a real one has it, too."""
    where = ["--address", cluster, "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "ray.util.client.server", *where]

    def listens() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    with running(command, os.environ, log, listens):
        yield f"ray://127.0.0.1:{port}"


def tracebacks_of_ours(log: str) -> list[str]:
    """Those that code of this project is in.

    Ray's client writes others on a busy machine: Ray Serve gives up on a replica that does not
    tell within 0.1 s how much it has to do and cancels that future, and the answer that comes
    late cannot be set any more (InvalidStateError). Nothing is lost by it.
    """
    blocks = [block.split("\n20")[0] for block in log.split("Traceback ")[1:]]
    return [block for block in blocks if str(ROOT / "grounded_labeler") in block]


def test_two_fronts_without_models_of_their_own_are_one_service_that_finds_its_cluster_again(
    deployed: str, tmp_path: Path, label_studio: LabelStudio
) -> None:
    label_studio.files["/static/wide.jpg"] = (SAMPLES / "wide.jpg").read_bytes()
    image, port = f"{label_studio.url}/static/wide.jpg", free_port()

    def asked(url: str, context: dict[str, Any] | None) -> requests.Response:
        request = body([image], context)
        return requests.post(f"{url}/predict", json=request, timeout=PATIENCE_S)

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return asked(other, None).status_code == 200
        return False

    with contextlib.ExitStack() as stack:
        store = stack.enter_context(run_postgresql()).url
        environ = DEMO | {"LABEL_STUDIO_URL": label_studio.url, "PROMPT_STORE": store}
        with client_server(deployed, tmp_path / "first", port) as elsewhere:
            urls = []
            for name, address in (("one", deployed), ("other", elsewhere)):
                (tmp_path / name).mkdir()
                log = tmp_path / name / "log"
                run = run_service(free_port(), log, **environ, RAY_ADDRESS=address)
                urls.append(stack.enter_context(run))
            one, other = urls
            health = requests.get(f"{other}/health", timeout=PATIENCE_S).json()
            assert health["device"] == "a cluster (cpu)"
            # Typed at one of them, and then asked by nobody at the other.
            for url, context in ((one, typed("blue star")), (other, None)):
                [prediction] = asked(url, context).json()["results"]
                found = prediction["result"]
                assert {label_of(one) for one in of_type(found, "brushlabels")} == {"Star"}
                wait_until(open_store(store).entries)  # no answer waits for the store
            [shown] = [one for one in of_type(found, "textarea") if one["from_name"] == "prompt"]
            assert shown["value"]["text"] == ["blue star"]
            for name in ("one", "other"):
                said = (tmp_path / name / "log").read_text()
                assert tracebacks_of_ours(said) == []
                assert "on a cluster (cpu)" in said
        gone = asked(other, None)
        assert (gone.status_code, gone.json()["error"]) == (
            503, "The service lost the connection to the Ray cluster and reconnects."
        )  # fmt: skip
        stack.enter_context(client_server(deployed, tmp_path / "second", port))
        wait_until(answers)


def test_a_deployment_has_no_route(deployed: str) -> None:
    status = serve.status()
    assert status.applications[APP].status == "RUNNING"
    assert status.proxies == {}  # nothing of Ray Serve listens for HTTP at all


def test_a_cluster_of_other_models_is_not_asked(deployed: str) -> None:
    # No weights of these are here: they are the cluster's to have.
    other = Settings.from_env(
        DEMO | {"DETECTOR": "groundingdino-swint-ogc"} | {"RAY_ADDRESS": deployed}
    )
    with pytest.raises(
        SettingsError, match=r"serves demo\+demo, .* ask for groundingdino-swint-ogc"
    ):
        connect(other)
    service = start_service(other)
    with pytest.raises(NotReady, match="set DETECTOR, SEGMENTER and MODELS alike"):
        service.backend.wait_until_ready(PATIENCE_S)


class Unreadable:
    """What a class of another version is: its module is not here."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("grounded_labeler.module_of_another_version",)


INFO = DeploymentInfo(
    ("demo+demo",),
    summarize_all(Settings.from_env(DEMO).offered, Path()),
    "a cluster (cpu)",
    runtime=Runtime("torch", "fp32", 2),
)
OLDER = INFO.to_message() | {"protocol": ray_connection.PROTOCOL - 1}
OTHER_VERSION = "runs another version of grounded-labeler: deploy the version that runs here"


def handshake(monkeypatch: pytest.MonkeyPatch, response: Callable[[], object]) -> DeploymentInfo:
    """Connect to a deployment whose response to the handshake is this one."""
    served = SimpleNamespace(remote=lambda: SimpleNamespace(result=response))
    monkeypatch.setattr(ray_connection, "join", lambda _: None)
    monkeypatch.setattr(ray_connection, "deployment_handle", lambda: SimpleNamespace(served=served))
    return connect(Settings.from_env(DEMO | {"RAY_ADDRESS": "127.0.0.1:9"}))


@pytest.mark.parametrize("info", [INFO, replace(INFO, runtime=None)])
def test_the_handshake_is_of_builtin_types_and_read_in_full(
    monkeypatch: pytest.MonkeyPatch, info: DeploymentInfo
) -> None:
    message = json.loads(json.dumps(info.to_message()))
    assert handshake(monkeypatch, lambda: message) == info


@pytest.mark.parametrize("message", [OLDER, {"models": "demo+demo"}, "demo+demo", None])
def test_a_deployment_of_another_version_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, message: object
) -> None:
    with pytest.raises(SettingsError, match=OTHER_VERSION):
        handshake(monkeypatch, lambda: message)


def test_a_deployment_whose_classes_are_not_here_is_of_another_version(
    ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=OTHER_VERSION):
        handshake(monkeypatch, lambda: ray.get(ray.put(Unreadable())))

    def client_raises() -> object:
        raise ModuleNotFoundError("grounded_labeler.module_of_another_version")

    with pytest.raises(SettingsError, match=OTHER_VERSION):
        handshake(monkeypatch, client_raises)


# What a replica does, without a cluster


class Failing:
    """Models of which some images are too much, alone or with others."""

    device, batch_size, runtime = "cpu", 4, None

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.begun, self.hangs = threading.Event(), threading.Event()
        self.hangs.set()

    def run(self, requests: Sequence[Request]) -> list[InferenceResult]:
        jobs = [one for one in requests if isinstance(one, InferenceRequest)]
        self.begun.set()
        assert self.hangs.wait(PATIENCE_S)
        self.asked.append(len(jobs))
        if any(one.prompt.phrases[0].text == "too much" for one in jobs):
            raise OutOfMemory("no room")
        return [f"found {one.prompt.phrases[0].text}" for one in jobs]  # type: ignore[misc]

    def release(self) -> None:
        """Nothing is held between runs."""


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Batches belong to the first event loop that they were asked in."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Failing:
    models = Failing()

    def load(_: Replica, _settings: Settings, queue: InferenceQueue) -> LocalBackend:
        return LocalBackend(lambda: cast(Pipeline, models), queue)

    monkeypatch.setattr(Replica, "load", load)
    # Batches ask Ray Serve how many requests there may be at once.
    limits = SimpleNamespace(max_ongoing_requests=2 * models.batch_size)
    context = SimpleNamespace(_deployment_config=limits)
    monkeypatch.setattr(serve, "get_replica_context", lambda: context)
    return models


def test_jobs_that_come_together_are_a_batch_and_one_that_fails_fails_alone(
    models: Failing, loop: asyncio.Runner
) -> None:
    async def ask(phrases: Sequence[str]) -> list[Any]:
        replica = Replica(Settings.from_env(DEMO))
        # However busy the machine is: these batches are full.
        cast(Any, replica._batch).set_batch_wait_timeout_s(PATIENCE_S)
        asked = [replica.answer(job(phrase), ("demo", "demo")) for phrase in phrases]
        return await asyncio.gather(*asked, return_exceptions=True)

    assert loop.run(ask(["a", "b", "c", "d"])) == ["found a", "found b", "found c", "found d"]
    assert models.asked == [4]
    models.asked.clear()
    [a, failed, c, d] = loop.run(ask(["a", "too much", "c", "d"]))
    assert (a, c, d) == ("found a", "found c", "found d")
    assert isinstance(failed, OutOfMemory)
    assert models.asked == [4, 1, 1, 1, 1]


def test_requests_for_other_models_are_batches_of_their_own_and_wait_for_their_loads_only(
    models: Failing, loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader()
    loader.gates["b"] = threading.Event()

    def load(_: Replica, settings: Settings, queue: InferenceQueue) -> LocalBackend:
        return ModelPool(loader, queue, settings.choice).default

    monkeypatch.setattr(Replica, "load", load)
    names, others = ("demo", "demo"), ("b", "none")
    monkeypatch.setattr("grounded_labeler.settings.Settings.offered", offered_models(
        ModelChoice(*names), ["demo+demo", "b"]
    ))  # fmt: skip

    async def ask() -> None:
        replica = Replica(Settings.from_env(DEMO))
        cast(Any, replica._batch).set_batch_wait_timeout_s(0)
        with pytest.raises(StillLoading):
            await replica.answer(job("a"), others)
        assert (await replica.answer(job("a"), names)).size_hw == (96, 128)
        loader.gates["b"].set()
        own = replica._backend.of(ModelChoice(*others))
        await asyncio.to_thread(own.wait_until_ready, PATIENCE_S)
        detectors = [cast(Model, one.pipeline.detector) for one in (replica._backend, own)]
        for detector in detectors:
            detector.batches.clear()
        cast(Any, replica._batch).set_max_batch_size(4)
        cast(Any, replica._batch).set_batch_wait_timeout_s(PATIENCE_S)
        chosen = [names, others, names, others]
        asked = [replica.answer(job(str(number)), one) for number, one in enumerate(chosen)]
        assert len(await asyncio.gather(*asked)) == len(chosen)
        assert [detector.batches for detector in detectors] == [[2], [2]]

    loop.run(ask())


def test_a_replica_whose_models_are_stuck_is_not_healthy(
    models: Failing, loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(cluster, "InferenceQueue", partial(InferenceQueue, clock=clock))

    async def look() -> None:
        replica = Replica(Settings.from_env(DEMO | {"MODEL_DEADLINE": "1"}))
        cast(Any, replica._batch).set_batch_wait_timeout_s(0)  # it is the class's
        replica.check_health()
        models.hangs.clear()
        asked = asyncio.create_task(replica.answer(job("a"), ("demo", "demo")))
        assert await asyncio.to_thread(models.begun.wait, PATIENCE_S)
        replica.check_health()
        clock.pass_by(1.5)
        with pytest.raises(NotReady, match="restart"):
            replica.check_health()
        with pytest.raises(NotReady, match="restart"):
            await asked
        models.hangs.set()

    loop.run(look())


# Without Ray, and without a cluster


def test_without_ray_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"RAY_ADDRESS needs Ray: pip .* requirements-ray\.txt"):
        check_models(Settings.from_env(DEMO | {"RAY_ADDRESS": "127.0.0.1:6379"}))
    check_models(Settings.from_env(DEMO))
    for name, value in DEMO.items():
        monkeypatch.setenv(name, value)
    assert deploy.main([]) == 1
    assert "A deployment needs Ray: pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "options", "said"),
    [
        ({}, [], "RAY_ADDRESS must say where the cluster is"),
        ({"RAY_ADDRESS": "127.0.0.1:9"}, [], "The Ray cluster at 127.0.0.1:9 cannot be joined"),
        ({"RAY_ADDRESS": "127.0.0.1:9"}, ["--cpus", "0"], "greater than 0"),
    ],
)
def test_what_cannot_be_deployed_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: Environ,
    options: list[str],
    said: str,
) -> None:
    for name, value in (DEMO | environ).items():
        monkeypatch.setenv(name, value)
    assert deploy.main(options) == 1
    assert said in capsys.readouterr().err


def test_no_secret_travels_to_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"LABEL_STUDIO_API_KEY": "tok-1", "BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "pass-1"}
    secrets["PROMPT_STORE"] = "postgresql://anna:pass-2@127.0.0.1:9/db"
    for name, value in (DEMO | secrets).items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env(os.environ)
    deployment = application(ScalingConfig(), settings)._bound_deployment
    [sent] = deployment.init_args
    assert sent.label_studio_api_key is None
    assert sent.basic_auth_pass is None
    assert sent.prompt_store is None
    assert (sent.detector, sent.cpu_threads) == ("demo", 1)
