"""What the service knows of a model before it is loaded: engine, files, source and licence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# "unknown" is that of a repository whose config.json, which says it, is not here yet.
Engine = Literal[
    "groundingdino", "transformers", "sam", "mobile-sam", "sam2", "sam3", "tokenizer", "unknown"
]

# Where the files of a repository whose sums are in no catalog are listed, beside the files.
LISTING = "hub.json"


@dataclass(frozen=True)
class ModelFile:
    """One file to fetch: `bytes` is its exact size, `sha256` its sum in lower-case hex."""

    name: str
    url: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class HubRepository:
    """A repository of the Hugging Face hub, `owner/name`, and a branch, tag or commit of it."""

    name: str
    revision: str = "main"


@dataclass(frozen=True)
class Terms:
    """A licence that its user must accept before the weights are fetched.

    Attributes:
        name: the licence.
        url: where its text is.
        summary: what it asks for, in a sentence.
    """

    name: str
    url: str
    summary: str


@dataclass(frozen=True)
class DefaultThresholds:
    """The box and text thresholds, in [0, 1], that suit a detector, and the source of both."""

    box: float
    text: float
    source: str


@dataclass(frozen=True)
class Model:
    """A model and where it comes from.

    Its files are in the catalog, bundled, listed by the hub or somebody's own.

    Attributes:
        name: what versions, log lines and the folder under MODEL_DIR are called.
        engine: the code that runs it.
        source: where it is published.
        licence: the licence of the weights.
        files: the files to fetch, with their sums.
        bundled: the folder inside this package of a model that is never fetched.
        hub: the repository of a model whose sums are in no catalog; the listing that is
            written beside its files has those that the hub states.
        own: the folder or the file of somebody's own model.
        shared: models this one needs besides its own files.
        config: the architecture of an `own` checkpoint that does not say it itself.
        thresholds: the detector's own defaults; None for what only segments.
        terms: what must be accepted first, if anything.
    """

    name: str
    engine: Engine
    source: str
    licence: str
    files: tuple[ModelFile, ...] = ()
    shared: tuple["Model", ...] = ()
    bundled: str | None = None
    hub: HubRepository | None = None
    own: Path | None = None
    config: str | None = None
    thresholds: DefaultThresholds | None = None
    terms: Terms | None = None

    @property
    def parts(self) -> tuple["Model", ...]:
        """The model itself, then the ones it shares with others."""
        return (self, *self.shared)

    def folder(self, model_dir: Path) -> Path:
        """Where the model's own files lie; of an own checkpoint, the checkpoint itself."""
        if self.own is not None:
            return self.own
        if self.bundled is not None:
            return Path(__file__).parents[1] / self.bundled
        return model_dir / self.name

    def tokenizer_folder(self, model_dir: Path) -> Path | None:
        """Where the tokenizer lies that the model shares with others, if it shares one."""
        return next((part.folder(model_dir) for part in self.shared), None)
