"""What one server process holds: settings, models, fetcher, remembered prompts, known projects."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from grounded_labeler.bounded import keep
from grounded_labeler.cache import ByteCache
from grounded_labeler.errors import GroundedLabelerError, NotReady
from grounded_labeler.images.fetcher import Fetcher, Origin
from grounded_labeler.images.proxies import Proxies
from grounded_labeler.images.source import ImageReader, Source
from grounded_labeler.inference.executor import Asker, Clock, Executor, Models
from grounded_labeler.inference.loader import load_pipeline, model_name
from grounded_labeler.models.runtime import device as compute
from grounded_labeler.prompts.factory import follow_store, open_store
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.sqlite import SQLiteStore
from grounded_labeler.prompts.store import PromptStore
from grounded_labeler.secret_files import LiveSecret
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import NO_SEGMENTER

logger = logging.getLogger(__name__)

# Label Studio gives up on a prediction after 100 s; loading that takes longer is said sooner.
_LOADING_PATIENCE_S = 60.0
_MAX_PROJECTS = 10_000  # anyone may name some


@dataclass(frozen=True)
class Service:
    """The parts a request needs, put together once per process.

    `pipeline` is a future, so that the server answers while the models load; where a
    cluster has them, it tells of those, and `batcher`, else the same as `executor`, sends
    pictures there.
    """

    settings: Settings
    pipeline: "Future[Any]"  # Models, of the kind that `batcher` asks
    fetcher: ImageReader
    memory: PromptHistory
    executor: Executor
    batcher: Asker
    cache: ByteCache
    clock: Clock = time.monotonic
    _origins: dict[str, Origin] = field(default_factory=dict)
    _versions: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def has_segmenter(self) -> bool:
        return self.settings.segmenter != NO_SEGMENTER

    @property
    def model_name(self) -> str:
        return model_name(self.settings)

    @cached_property
    def password(self) -> LiveSecret:
        """What callers must give with the user name of the settings, if one is set there."""
        return live_secret(self.settings, "basic_auth_pass")

    @cached_property
    def _token(self) -> LiveSecret:
        return live_secret(self.settings, "label_studio_api_key")

    def models(self, patience: float = _LOADING_PATIENCE_S) -> Models:
        """The loaded models; waits `patience` seconds, raises NotReady when they do not come."""
        try:
            failure = self.pipeline.exception(timeout=patience)
        except FutureTimeoutError:
            raise NotReady("The models are still loading: try again in a minute.") from None
        if isinstance(failure, GroundedLabelerError):
            raise NotReady(str(failure)) from failure
        if failure is not None:
            sentence = "The models could not be loaded: the log says why."
            raise NotReady(sentence) from failure
        models: Models = self.pipeline.result()
        return models

    def remember_project(self, project: str, hostname: str | None, token: str | None) -> None:
        """Keep what /setup says of a project's Label Studio, for what the settings leave open."""
        if hostname:
            origin = Origin(hostname, token or None, trusted=False)
            with self._lock:
                keep(self._origins, project, origin, _MAX_PROJECTS)

    def remember_version(self, project: str, version: str) -> None:
        with self._lock:
            keep(self._versions, project, version, _MAX_PROJECTS)

    def versions(self) -> list[str]:
        """The model versions of the projects seen, or the models' names before the first one."""
        with self._lock:
            return sorted(set(self._versions.values())) or [self.model_name]

    def origin(self, project: str) -> Origin | None:
        """The Label Studio that a project's images are fetched from, if it is known.

        Anyone may call /setup: the settings' token goes to the settings' address only, and
        an address from /setup is not trusted to be a private one.
        """
        return origin_of(self.settings, self._token) or self._origins.get(project)

    def source(self, project: str) -> Source:
        """Where a project's images come from."""
        pixels = self.settings.max_image_pixels
        return Source(self.fetcher, self.origin(project), self.cache, pixels)


def prompts_file(settings: Settings) -> Path:
    """Where the prompts of the projects are remembered without PROMPT_STORE."""
    return (settings.data_dir or settings.model_dir) / "prompts.sqlite3"


def live_secret(settings: Settings, field: str) -> LiveSecret:
    """The secret `field`, which the settings hold or name the file of."""
    at_start: SecretStr | None = getattr(settings, field)
    path: Path | None = getattr(settings, f"{field}_file")
    text = None if at_start is None else at_start.get_secret_value()
    return LiveSecret(text, path, f"{field}_file".upper())


def origin_of(settings: Settings, token: LiveSecret | None = None) -> Origin | None:
    """The Label Studio that the settings name, with its token as it stands now."""
    if not settings.label_studio_url:
        return None
    token = token or live_secret(settings, "label_studio_api_key")
    return Origin(settings.label_studio_url, token.get())


def make_fetcher(settings: Settings) -> Fetcher:
    """What fetches images from wherever the settings allow, by the rules of docs/security.md."""
    return Fetcher(
        allowed_hosts=settings.allowed_hosts,
        max_bytes=settings.max_image_bytes,
        local_files_root=settings.local_files_root,
        proxies=Proxies.from_environment(),
    )


def prompt_store(settings: Settings) -> PromptStore:
    """Where the prompts of the projects are remembered; nothing is connected to yet.

    Raises SettingsError for a PROMPT_STORE that its driver cannot read.
    """
    if settings.prompt_store_file is not None:
        return follow_store(live_secret(settings, "prompt_store"))
    if settings.prompt_store is not None:
        return open_store(settings.prompt_store.get_secret_value())
    return SQLiteStore(prompts_file(settings))


def start_service(settings: Settings) -> Service:
    """Put the parts together and load the models in the background."""
    if settings.label_studio_api_key is None:
        logger.warning(
            "LABEL_STUDIO_API_KEY is not set: images that were uploaded to Label Studio, or are in"
            " its storages, cannot be fetched."
        )
    cache = ByteCache(settings.cache_bytes)
    executor = Executor(settings.threads, settings.model_deadline, compute.release_memory)
    load: Callable[[], Models] = partial(load_pipeline, settings, cache)
    batcher: Asker = executor
    if settings.ray_address is not None:
        from grounded_labeler.inference import ray_client as front  # noqa: PLC0415 - Ray is an extra

        load, batcher = partial(front.connect, settings), front.Asker()
    pipeline: Future[Any] = Future()
    threading.Thread(
        target=_load_into, args=(pipeline, settings, load), name="load-models", daemon=True
    ).start()
    memory = PromptHistory(prompt_store(settings))
    return Service(settings, pipeline, make_fetcher(settings), memory, executor, batcher, cache)


def _load_into(pipeline: "Future[Models]", settings: Settings, load: Callable[[], Models]) -> None:
    start = time.monotonic()
    logger.info("Loading %s", model_name(settings))
    try:
        loaded = load()
    except GroundedLabelerError as error:
        logger.error("The models could not be loaded: %s", error)  # noqa: TRY400 - one clear line
        pipeline.set_exception(error)
    except BaseException as error:
        logger.exception("The models could not be loaded")
        pipeline.set_exception(error)
    else:
        logger.info(
            "Models ready after %.0f s: detector %s, segmenter %s, on %s by %s",
            time.monotonic() - start, settings.detector, settings.segmenter, loaded.device,
            loaded.runtime,
        )  # fmt: skip
        pipeline.set_result(loaded)
