"""What a server process holds: checked weights, a fetcher by the settings, known projects."""

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from grounded_labeler import projects
from grounded_labeler.cache import ByteCache
from grounded_labeler.errors import ImageError, NotReady, WeightsError
from grounded_labeler.images.fetcher import Fetcher, Origin
from grounded_labeler.inference.backend import Priority
from grounded_labeler.inference.loader import check_weights, load_pipeline
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.service import Service, prompt_store, start_service
from grounded_labeler.settings import Settings
from grounded_labeler.weights import catalog
from grounded_labeler.weights.catalog import BERT_TOKENIZER
from grounded_labeler.weights.model import Model
from tests.conftest import client_of
from tests.helpers.asking import TUTORIAL, body, predict
from tests.helpers.backends import loading, local
from tests.helpers.label_studio import TOKEN, LabelStudio
from tests.helpers.models_thread import Calls, held
from tests.helpers.serving import wait_until

HOST = "http://studio.example:8080"
CHECKPOINT = "groundingdino-swint-ogc/groundingdino_swint_ogc.pth"
VOCABULARY = "bert-base-uncased/vocab.txt"
SAM = "sam-vit-b/sam_vit_b_01ec64.pth"


# Models


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of models whose published files are a few bytes each, and are all there."""

    def publish(model: Model) -> Model:
        [file] = model.files
        content = f"not really {file.name}".encode()
        path = model.folder(tmp_path) / file.name
        path.parent.mkdir()
        path.write_bytes(content)
        file = replace(file, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        return replace(model, files=(file,))

    detector = catalog.DETECTORS["groundingdino-swint-ogc"]
    detector = replace(publish(detector), shared=(publish(BERT_TOKENIZER),))
    segmenter = publish(catalog.SEGMENTERS["sam-vit-b"])
    monkeypatch.setattr(catalog, "DETECTORS", {detector.name: detector})
    monkeypatch.setattr(catalog, "SEGMENTERS", {segmenter.name: segmenter})
    return Settings.from_env({"MODEL_DIR": str(tmp_path), "SEGMENTER": "sam-vit-b"})


@pytest.mark.parametrize("name", [CHECKPOINT, VOCABULARY, SAM])
def test_a_damaged_file_is_refused_before_any_is_used(small: Settings, name: str) -> None:
    file = small.model_dir / name
    file.write_bytes(file.read_bytes().swapcase())
    check_weights(small)  # looks at sizes only
    with pytest.raises(WeightsError, match=f"{name} is damaged: its SHA-256"):
        load_pipeline(small, ByteCache(0))


@pytest.mark.parametrize("name", [CHECKPOINT, VOCABULARY, SAM])
def test_a_missing_file_is_named_with_the_ways_out(small: Settings, name: str) -> None:
    (small.model_dir / name).unlink()
    for look in (check_weights, partial(load_pipeline, cache=ByteCache(0))):
        with pytest.raises(WeightsError, match=f"missing or incomplete: [^,]*{name}. Run `make w"):
            look(small)


def test_the_vocabulary_is_read_from_the_folder_that_detectors_share(small: Settings) -> None:
    with pytest.raises(WeightsError, match=f"{VOCABULARY} is not the vocabulary of this model"):
        load_pipeline(small, ByteCache(0))


def test_the_chosen_models_are_loaded_in_the_background(
    tmp_path: Path, demo_pipeline: Pipeline
) -> None:
    environ = {"DETECTOR": "demo", "SEGMENTER": "none", "MODEL_DIR": str(tmp_path)}
    backend = local(start_service(Settings.from_env(environ)))
    backend.wait_until_ready()
    models = backend.pipeline
    assert models.segmenter is None
    assert models.device == demo_pipeline.device
    assert demo_pipeline.segmenter is not None


# Settings


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Service]:
    """start_service() with further environment variables, in a folder without weights."""
    return lambda **environ: start_service(
        Settings.from_env({"MODEL_DIR": str(tmp_path)} | environ)
    )


def test_weights_that_are_missing_are_told_to_whoever_asks_for_the_models(
    start: Callable[..., Service],
) -> None:
    with pytest.raises(NotReady, match=rf"missing or incomplete: .*{CHECKPOINT}.*`make weights`"):
        start().backend.wait_until_ready()


def test_a_request_does_not_wait_for_ever_for_the_models(
    start: Callable[..., Service],
) -> None:
    with pytest.raises(NotReady, match="still loading"):
        loading(Future()).wait_until_ready(timeout_s=0.01)


def test_local_files_are_read_under_the_folder_of_the_settings(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    uri = "/data/local-files/?d=a.jpg"
    assert start(LOCAL_FILES_ROOT=str(tmp_path)).fetcher.fetch(uri, None) == b"image"
    with pytest.raises(ImageError, match="LABEL_STUDIO_URL"):
        start().fetcher.fetch(uri, None)


def test_images_may_be_as_large_as_the_settings_say(start: Callable[..., Service]) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(bytes(1001)).decode()}"
    assert start(MAX_IMAGE_BYTES="1001").fetcher.fetch(uri, None) == bytes(1001)
    with pytest.raises(ImageError, match=r"more than 1,000 bytes.*MAX_IMAGE_BYTES"):
        start(MAX_IMAGE_BYTES="1000").fetcher.fetch(uri, None)


def test_private_hosts_are_those_the_settings_allow(
    start: Callable[..., Service], label_studio: LabelStudio
) -> None:
    label_studio.files["/static/a.jpg"] = b"image"
    uri = f"{label_studio.url}/static/a.jpg"
    assert start(ALLOWED_HOSTS="127.0.0.1").fetcher.fetch(uri, None) == b"image"
    with pytest.raises(ImageError, match="ALLOWED_HOSTS"):
        start().fetcher.fetch(uri, None)


def test_prompts_are_kept_in_the_folder_of_the_models(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    start().prompts.save("1/image", "red circle")
    assert start().prompts.newest("1/image") == "red circle"
    assert (tmp_path / "prompts.sqlite3").is_file()
    assert start(MODEL_DIR=str(tmp_path / "other")).prompts.newest("1/image") is None


def test_prompts_are_kept_where_the_settings_say(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    start(DATA_DIR=str(tmp_path / "data")).prompts.save("1/image", "red circle")
    assert (tmp_path / "data" / "prompts.sqlite3").is_file()
    assert start().prompts.newest("1/image") is None


def test_copies_of_the_service_share_a_store(start: Callable[..., Service], tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/shared/prompts"
    one = start(MODEL_DIR=str(tmp_path / "one"), PROMPT_STORE=store)
    other = start(MODEL_DIR=str(tmp_path / "other"), PROMPT_STORE=store)
    one.prompts.save("1/image", "red circle")
    assert other.prompts.newest("1/image") == "red circle"
    assert start().prompts.newest("1/image") is None


@pytest.mark.parametrize("token", [True, False])
def test_a_token_that_is_not_set_is_told_of(
    start: Callable[..., Service], caplog: pytest.LogCaptureFixture, token: bool
) -> None:
    given = {"LABEL_STUDIO_API_KEY": "secret" if token else " "}
    start(LABEL_STUDIO_URL="http://label-studio", **given)
    assert ("LABEL_STUDIO_API_KEY is not set" in caplog.text) is not token


def test_there_are_as_many_slots_as_threads(start: Callable[..., Service]) -> None:
    slots = start(THREADS="2").slots
    with slots.take(), slots.take(), pytest.raises(NotReady), slots.take():
        pass


@pytest.mark.parametrize("threads", [2, 20])
def test_as_many_typed_prompts_as_there_are_slots_go_before_what_waits(
    start: Callable[..., Service], threads: int
) -> None:
    queue, order, models = local(start(THREADS=str(threads))).queue, list[str](), Calls()
    with ThreadPoolExecutor(threads + 2) as callers:

        def wait_in_line(name: str, priority: Priority) -> None:
            waiting, request = queue.waiting, partial(order.append, name)
            callers.submit(queue.run, models, [request], priority=priority)
            wait_until(lambda: queue.waiting > waiting)

        with held(queue):
            wait_in_line("older", Priority.PREANNOTATION)
            for _ in range(threads + 1):
                wait_in_line("typed", Priority.TYPED_PROMPT)
    assert order == ["typed"] * threads + ["older", "typed"]


# Projects


@pytest.mark.parametrize(
    ("hostname", "token", "expected"),
    [
        (HOST, "abc", Origin(HOST, "abc", trusted=False)),
        (HOST, "", Origin(HOST, None, trusted=False)),
        ("", "abc", None),
        (None, "abc", None),
    ],
)
def test_what_setup_says_is_kept_for_its_project_and_not_trusted(
    start: Callable[..., Service], hostname: str | None, token: str, expected: Origin | None
) -> None:
    unknown = start()
    unknown.projects.set_origin("1", hostname, token)
    assert unknown.origin("1") == expected
    assert unknown.origin("2") is None


@pytest.mark.parametrize("key", ["", "sekrit"])
def test_the_settings_win_and_tokens_stay_with_their_address(
    start: Callable[..., Service], key: str
) -> None:
    known = start(LABEL_STUDIO_URL="http://home:8080", LABEL_STUDIO_API_KEY=key)
    known.projects.set_origin("1", HOST, "abc")
    for project in ("1", "2"):
        assert known.origin(project) == Origin("http://home:8080", key or None, trusted=True)


@pytest.mark.parametrize("allowed", [(), ("127.0.0.1",)], ids=["stranger", "allowed"])
def test_images_come_from_where_setup_says_if_that_may_be_reached(
    make_service: Callable[..., Service], label_studio: LabelStudio, allowed: tuple[str, ...]
) -> None:
    unknown = make_service(LABEL_STUDIO_URL="", LABEL_STUDIO_API_KEY="")  # empty: not set
    unknown = replace(unknown, fetcher=Fetcher(allowed_hosts=allowed))
    client = client_of(unknown)
    told = {"hostname": label_studio.url, "access_token": TOKEN}
    client.post("/setup", json={"project": "1.1795170150", "schema": TUTORIAL} | told)
    [prediction] = predict(client, body(["/data/upload/1/wide.jpg"]))
    assert ("result" in prediction) == bool(allowed)
    assert ("private address" in prediction.get("error", "")) != bool(allowed)
    assert bool(label_studio.requests) == bool(allowed)


def test_versions_are_the_newest_of_each_project(start: Callable[..., Service]) -> None:
    seen = start(DETECTOR="grounding-dino-tiny", SEGMENTER="sam-vit-b")
    assert seen.versions() == ["grounding-dino-tiny+sam-vit-b"]
    for project, version in [("1", "b"), ("2", "a"), ("3", "a"), ("1", "c")]:
        seen.projects.set_version(project, version)
    assert seen.versions() == ["a", "c"]


def test_of_too_many_projects_the_longest_unseen_is_forgotten(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projects, "_MAX_PROJECTS", 3)
    crowded = start()
    for project in ("1", "2", "3", "2", "1", "4"):
        crowded.projects.set_origin(project, HOST, None)
        crowded.projects.set_version(project, f"version {project}")
    assert [crowded.origin(project) is None for project in "1234"] == [False, False, True, False]
    assert crowded.versions() == ["version 1", "version 2", "version 4"]


def test_another_token_in_its_file_counts_without_a_restart(
    make_service: Callable[..., Service], label_studio: LabelStudio, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("of yesterday\n".replace(" ", "-"))
    service = make_service(LABEL_STUDIO_API_KEY="", LABEL_STUDIO_API_KEY_FILE=str(file))
    client = client_of(service)
    asked = body(["/data/upload/1/wide.jpg"])
    [refused] = predict(client, asked)
    assert "401" in refused["error"]
    file.write_text(f"{TOKEN}\n")
    [answered] = predict(client, asked)
    assert "result" in answered


def test_the_address_of_the_store_in_its_file_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "store"
    stores = [f"sqlite://{tmp_path}/{name}.sqlite3" for name in ("one", "two")]
    file.write_text(stores[0])
    store = prompt_store(Settings.from_env({"PROMPT_STORE_FILE": str(file)}))
    store.save("1", 1.0, "in the first")
    file.write_text(stores[1])
    assert store.newest("1") is None
    assert store.place.endswith("two.sqlite3")
    store.save("1", 2.0, "in the second")
    file.write_text("mysql://:s3krit@host/x")
    assert store.newest("1") == (2.0, "in the second")
    file.write_text(stores[0])
    assert store.newest("1") == (1.0, "in the first")
