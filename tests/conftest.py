"""Fixtures: the trained demo models, a stand-in for Label Studio's file server, clients."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings

from grounded_labeler.cache import ByteCache
from grounded_labeler.cli import weights
from grounded_labeler.images.fetcher import Fetcher
from grounded_labeler.inference.loader import load_pipeline
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.inference.slots import RequestSlots
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.sqlite import SQLiteStore
from grounded_labeler.service import Service
from grounded_labeler.settings import Settings
from tests.helpers.backends import loaded
from tests.helpers.held import Held
from tests.helpers.label_studio import TOKEN, LabelStudio, run_label_studio

DATA = Path(__file__).parent / "data"
SAMPLES = Path(__file__).parents[1] / "grounded_labeler" / "demo" / "samples"

MakeClient = Callable[..., FlaskClient]
RecordFigure = Callable[[str, str], None]
_FIGURES = pytest.StashKey[list[tuple[str, str]]]()


# What a maintainer keeps in a file `.env` here is for no process of a test.
os.environ["ENV_FILE"] = os.devnull
# Nor is where they collect traces.
for _name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[_name]

pytest_plugins = ["tests.helpers.parallel", "tests.helpers.ray_processes"]

# How long an example takes is the machine's affair.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="long forms of load and growth, a table")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rows = config.stash.get(_FIGURES, [])
    if config.getoption("--soak") and rows:
        width = max(len(name) for name, _ in rows)
        terminalreporter.section("figures")
        for name, value in rows:
            terminalreporter.write_line(f"{name:<{width}}  {value}")


@pytest.fixture(autouse=True)
def _log_of_transformers() -> Iterator[None]:
    """transformers logs to what standard error was when it was imported: that of a test, perhaps.

    That one is closed when the test is over, and every later line would be an error.
    """
    yield
    for handler in logging.getLogger("transformers").handlers:
        if type(handler) is logging.StreamHandler and sys.__stderr__ is not None:
            handler.stream = sys.__stderr__
            vars(handler).pop("flush", None)


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the long forms are wanted."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def record_figure(request: pytest.FixtureRequest) -> RecordFigure:
    """Put a measured figure, by its name, into the table that `make soak` ends with."""
    rows = request.config.stash.setdefault(_FIGURES, [])
    return lambda name, value: rows.append((name, value))


def client_of(service: Service) -> FlaskClient:
    """A client of the whole application on `service`."""
    # Here, so that those who need none of it need not wait for torch.
    from grounded_labeler.label_studio.backend import GroundedLabeler
    from grounded_labeler.server.app import create_app

    return create_app(GroundedLabeler.bound_to(service), service).test_client()


@pytest.fixture
def label_studio() -> Iterator[LabelStudio]:
    """Has the sample images as uploaded files."""
    with run_label_studio() as running:
        for sample in SAMPLES.glob("*.jpg"):
            running.upload(sample.name, sample.read_bytes())
        yield running


@pytest.fixture(scope="session")
def demo_pipeline() -> Pipeline:
    """The trained demo models, loaded once."""
    environ = {"DETECTOR": "demo", "SEGMENTER": "demo", "CPU_THREADS": "1"}
    settings = Settings.from_env(environ)
    return load_pipeline(settings, ByteCache(settings.cache_bytes))


@pytest.fixture(scope="session")
def exported_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODEL_DIR with the graphs of the demo models, as `make weights` makes them."""
    folder = tmp_path_factory.mktemp("models")
    arguments = ["--detector", "demo", "--segmenter", "demo", "--model-dir", str(folder)]
    assert weights.main(arguments) == 0
    return folder


@pytest.fixture
def make_service(
    demo_pipeline: Pipeline, label_studio: LabelStudio, tmp_path: Path
) -> Callable[..., Service]:
    """A service on the demo models, with further environment variables."""

    def make(**environ: str) -> Service:
        settings = Settings.from_env(
            {
                "DETECTOR": "demo",
                "SEGMENTER": "demo",
                "MODEL_DIR": str(tmp_path),
                "LABEL_STUDIO_URL": label_studio.url,
                "LABEL_STUDIO_API_KEY": TOKEN,
            }
            | environ
        )
        has_segmenter = settings.segmenter != "none"
        cache = ByteCache(settings.cache_bytes)
        segmenter = demo_pipeline.segmenter if has_segmenter else None
        runtime = demo_pipeline.runtime
        pipeline = Pipeline(demo_pipeline.detector, segmenter, cache, runtime)
        prompts = PromptHistory(SQLiteStore(tmp_path / "prompts.sqlite3"))
        backend = loaded(pipeline, InferenceQueue(settings.model_deadline))
        slots = RequestSlots(settings.threads)
        return Service(settings, backend, Fetcher(), prompts, slots, cache)

    return make


@pytest.fixture
def make_client(make_service: Callable[..., Service]) -> MakeClient:
    """A client of the whole application, with further environment variables."""

    def make(**environ: str) -> FlaskClient:
        return client_of(make_service(**environ))

    return make


@pytest.fixture
def held() -> Iterator[Held]:
    """A store of prompts whose writes wait until they are let go."""
    store = Held()
    yield store
    store.go_on.set()


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    return make_client()


@pytest.fixture(scope="session")
def truth() -> dict[str, Any]:
    """What is drawn in the sample images: displayed size, names and boxes."""
    loaded: dict[str, Any] = json.loads((SAMPLES / "truth.json").read_text())
    return loaded
