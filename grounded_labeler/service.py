"""What one server process holds: settings, models, images, remembered prompts, projects."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from grounded_labeler.cache import ByteCache
from grounded_labeler.images.fetcher import Fetcher, Origin
from grounded_labeler.images.proxies import Proxies
from grounded_labeler.images.source import ImageReader, Source
from grounded_labeler.inference.backend import InferenceBackend, Priority
from grounded_labeler.inference.encode_ahead import EncodeAhead
from grounded_labeler.inference.loader import loader_of
from grounded_labeler.inference.pool import ModelPool
from grounded_labeler.inference.queue import Clock, InferenceQueue
from grounded_labeler.inference.slots import RequestSlots
from grounded_labeler.projects import ProjectRegistry
from grounded_labeler.prompts.factory import follow_store, open_store
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.recent import RecentPrompts
from grounded_labeler.prompts.sqlite import SQLiteStore
from grounded_labeler.prompts.store import PromptStore
from grounded_labeler.secret_files import LiveSecret
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.summary import PairSummary, summarize
from grounded_labeler.weights.verification import State, states_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """The parts a request needs, put together once per process."""

    settings: Settings
    backend: InferenceBackend
    fetcher: ImageReader
    prompts: PromptHistory
    slots: RequestSlots
    cache: ByteCache
    clock: Clock = time.monotonic
    projects: ProjectRegistry = field(default_factory=ProjectRegistry)
    recent_prompts: RecentPrompts = field(default_factory=RecentPrompts)

    def can_encode_ahead(self, choice: ModelChoice) -> bool:
        """Whether what is encoded now is there for a later click: kept, and in this process."""
        settings = self.settings
        return choice.has_segmenter and settings.cache_bytes > 0 and settings.ray_address is None

    def summary(self, choice: ModelChoice) -> PairSummary:
        """What is known of a pair of models that need not be loaded.

        Raises WeightsError or, where a cluster has them, NotReady when it cannot be known.
        """
        elsewhere = self.backend.of(choice).summary()
        return elsewhere or summarize(choice, self.settings.model_dir)

    @property
    def model_name(self) -> str:
        """The names of the models of projects that choose none."""
        return self.settings.choice.name

    @cached_property
    def verified(self) -> dict[str, State]:
        """What became of comparing each model with published results, as it was at first use.

        A later verification counts from the next start.
        """
        return states_of(self.settings.offered.pairs, self.settings.model_dir)

    @cached_property
    def password(self) -> LiveSecret:
        """What callers must give with the user name of the settings, if one is set there."""
        return live_secret(self.settings, "basic_auth_pass")

    @cached_property
    def encode_ahead(self) -> EncodeAhead:
        """What encodes images before anybody clicks on them; its thread starts at first use."""
        return EncodeAhead()

    @cached_property
    def _token(self) -> LiveSecret:
        return live_secret(self.settings, "label_studio_api_key")

    @contextmanager
    def slot(self, priority: Priority) -> Iterator[None]:
        """Hold a slot for a request while the block runs.

        Raises NotReady when there is none, or when the models are stuck or lost.
        """
        self.backend.check()
        with self.slots.take(priority):
            yield

    def versions(self) -> list[str]:
        """The model versions of the projects seen, or the models' names before the first one."""
        return self.projects.versions() or [self.model_name]

    def origin(self, project: str) -> Origin | None:
        """The Label Studio that a project's images are fetched from, if it is known.

        The settings' token goes to the settings' address only.
        """
        return label_studio_of(self.settings, self._token) or self.projects.origin(project)

    def source(self, project: str) -> Source:
        """Where a project's images come from."""
        settings = self.settings
        return Source(
            self.fetcher,
            self.origin(project),
            self.cache,
            settings.max_image_pixels,
            settings.stretch,
        )


def prompts_file(settings: Settings) -> Path:
    """Where the prompts of the projects are remembered without PROMPT_STORE."""
    return (settings.data_dir or settings.model_dir) / "prompts.sqlite3"


def live_secret(settings: Settings, field: str) -> LiveSecret:
    """The secret `field`, which the settings hold or name the file of."""
    at_start: SecretStr | None = getattr(settings, field)
    path: Path | None = getattr(settings, f"{field}_file")
    text = None if at_start is None else at_start.get_secret_value()
    return LiveSecret(text, path, f"{field}_file".upper())


def label_studio_of(settings: Settings, token: LiveSecret | None = None) -> Origin | None:
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


def start_service(settings: Settings, backend: InferenceBackend | None = None) -> Service:
    """Put the parts together; without `backend`, the models of the settings load in the background.

    Args:
        settings: what the process was started with.
        backend: where the models run; chosen by the settings if None.
    """
    if settings.label_studio_api_key is None:
        logger.warning(
            "LABEL_STUDIO_API_KEY is not set: images that were uploaded to Label Studio, or are in"
            " its storages, cannot be fetched."
        )
    cache = ByteCache(settings.cache_bytes)
    return Service(
        settings,
        backend or _backend(settings, cache),
        make_fetcher(settings),
        PromptHistory(prompt_store(settings)),
        RequestSlots(settings.threads),
        cache,
    )


def _backend(settings: Settings, cache: ByteCache) -> InferenceBackend:
    """Where the models of the settings run; they load in the background."""
    if settings.ray_address is not None:
        from grounded_labeler.inference.ray_client import RayBackend  # noqa: PLC0415 - Ray is an extra

        return RayBackend(settings)

    def release_when_idle() -> None:
        backend.release()

    queue = InferenceQueue(
        settings.model_deadline, release_when_idle, most_overtakes=settings.threads
    )
    loader = loader_of(settings, cache)
    backend = ModelPool(loader, queue, settings.choice, settings.models_bytes).default
    return backend
