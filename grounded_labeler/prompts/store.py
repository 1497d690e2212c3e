"""What a store of prompts does, whichever database it is."""

from typing import NamedTuple, Protocol

# Anyone who can call /webhook can name projects: a store must be bounded.
MAX_PROMPTS = 10_000


class StoreError(Exception):
    """A store cannot be used now; the message is one line that says why, without secrets."""


class Entry(NamedTuple):
    """One prompt: of which project's image tag, when it was learned, and the prompt itself."""

    project: str
    learned: float  # seconds since 1970
    prompt: str


class PromptStore(Protocol):
    """The newest prompt of each project, for all processes that use the same place.

    `place` and `remedy` are for a warning: where the store is, without user and password, and
    a sentence on what to do when it cannot be used. Threads may share a store, and a forked
    process may use its parent's. When there are too many projects, the store evicts the one
    unchanged for longest. Every method raises StoreError when the store cannot be used.
    """

    place: str
    remedy: str

    def newest(self, project: str) -> tuple[float, str] | None:
        """Return when the prompt of `project` was learned, in seconds since 1970, and the prompt.

        None if there is none.
        """
        ...

    def save(self, project: str, learned: float, prompt: str) -> None:
        """Store `prompt`, unless one that was learned later is stored."""
        ...

    def entries(self) -> list[Entry]:
        """Return all that is stored, what was learned last first."""
        ...

    def delete(self, project: str) -> None:
        """Delete the prompt of `project`, if there is one."""
        ...
