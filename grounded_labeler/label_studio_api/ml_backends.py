"""The ML backends of a project: what Label Studio's Model page connects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from grounded_labeler.label_studio_api.client import Client, LabelStudioError

TITLE = "grounded-labeler"


class Login(NamedTuple):
    """What a service wants that has BASIC_AUTH_USER and BASIC_AUTH_PASS set."""

    user: str
    password: str


@dataclass(frozen=True)
class MLBackend:
    """A backend as Label Studio keeps it."""

    id: int
    title: str
    url: str
    is_interactive: bool

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "MLBackend":
        """Read a row of `/api/ml`."""
        title, url = str(row.get("title") or ""), str(row.get("url") or "")
        return cls(int(row["id"]), title, url, bool(row.get("is_interactive")))


def list_backends(client: Client, project: int) -> list[MLBackend]:
    """Return the backends of a project, the first one first; raises LabelStudioError."""
    rows = client.call("GET", "api/ml", project=project)
    return sorted((MLBackend.of(row) for row in rows), key=lambda one: one.id)


def connect_backend(
    client: Client, project: int, url: str, login: Login | None, there: Sequence[MLBackend]
) -> tuple[MLBackend, bool]:
    """Connect a service for interactive preannotations, or change the backend that it has.

    Args:
        client: the Label Studio.
        project: the number of the project.
        url: where Label Studio reaches the service.
        login: what the service wants, if anything.
        there: the backends that the project has. One at `url`, or with our title, is changed; its
            title stays, as a project may name it as the one whose predictions are shown.

    Returns the backend, and whether it is a new one. Label Studio asks the service for its health
    and sets it up on the way. Raises LabelStudioError.
    """
    own = next((one for one in there if one.url.rstrip("/") == url), None) or next(
        (one for one in there if one.title == TITLE), None
    )
    title = TITLE if own is None else own.title or TITLE
    # It wants the address with every change (1.23 answers 500 without).
    body = {"project": project, "url": url, "title": title, "is_interactive": True}
    if login is not None:
        body |= {"auth_method": "BASIC_AUTH", "basic_auth_user": login.user}
        body |= {"basic_auth_pass": login.password}
    if own is None:
        return MLBackend.of(client.call("POST", "api/ml", body)), True
    return MLBackend.of(client.call("PATCH", f"api/ml/{own.id}", body)), False


def ask_backend(
    client: Client, backend: MLBackend, task: int, context: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the results that an editor would get for a context; nothing is saved.

    Raises LabelStudioError, which has said what Label Studio said of the service.
    """
    path = f"api/ml/{backend.id}/interactive-annotating"
    answer = client.call("POST", path, {"task": task, "context": context})
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        errors = answer.get("errors") if isinstance(answer, dict) else None
        said = " ".join(map(str, errors or ["no answer"]))
        raise LabelStudioError(f"The service did not answer Label Studio: {said}", None, said)
    return [one for one in data.get("result") or () if isinstance(one, dict)]
