"""What Label Studio said of its projects: where it is, and which model version they have."""

import threading

from grounded_labeler.cache import put_newest
from grounded_labeler.images.label_studio_auth import Origin

_MAX_PROJECTS = 10_000  # anyone may name some


class ProjectRegistry:
    """The projects that were seen last, by Label Studio's own names; threads share it."""

    def __init__(self) -> None:
        self._origins: dict[str, Origin] = {}
        self._versions: dict[str, str] = {}
        self._lock = threading.Lock()

    def set_origin(self, project: str, hostname: str | None, token: str | None) -> None:
        """Store what /setup says of a project's Label Studio.

        Anyone may call /setup, so the address is not trusted to be a private one.
        """
        if hostname:
            with self._lock:
                origin = Origin(hostname, token or None, trusted=False)
                put_newest(self._origins, project, origin, _MAX_PROJECTS)

    def origin(self, project: str) -> Origin | None:
        """Return the project's Label Studio, if /setup named it."""
        return self._origins.get(project)

    def set_version(self, project: str, version: str) -> None:
        """Store the model version that a project's predictions have."""
        with self._lock:
            put_newest(self._versions, project, version, _MAX_PROJECTS)

    def versions(self) -> list[str]:
        """Return the model versions of all projects, each once."""
        with self._lock:
            return sorted(set(self._versions.values()))
