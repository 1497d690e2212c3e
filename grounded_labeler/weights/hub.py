"""The Hugging Face hub: which files a repository has at a commit, and their sums.

The hub states the size and the SHA-256 of each file in its large file storage, and git's own
sum of each other file: https://huggingface.co/docs/hub/api. Both come over TLS and are written
beside the weights at the first download, which trusts the hub once: a later download, and every
start of the service, is held to them.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import tenacity

from grounded_labeler._text import fits_in_header
from grounded_labeler.console import tell
from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.catalog import HUB
from grounded_labeler.weights.listing import checked, write_listing
from grounded_labeler.weights.model import HubRepository, Model, ModelFile
from grounded_labeler.weights.own import engine_of
from grounded_labeler.weights.transfer import (
    CONNECT_SECONDS,
    READ_SECONDS,
    WAITS,
    may_help,
    reason,
)

# What the engines read. A repository may hold the same weights in other forms, and much else.
_WANTED = re.compile(
    r"config\.json|preprocessor_config\.json|processor_config\.json|special_tokens_map\.json|"
    r"tokenizer\.json|tokenizer_config\.json|vocab\.txt|vocab\.json|merges\.txt|"
    r"model\.safetensors(\.index\.json)?|model-\d{5}-of-\d{5}\.safetensors"
)
_DIGITS = 12  # of a commit, for people
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REFUSED = {401, 403}
_MAY_READ_NOT = (
    "lets only people read it whom it knows, or there is no such repository. Where its owner "
    "grants access to people who ask, ask there first; then set HF_TOKEN, or HF_TOKEN_FILE, to a "
    "token of your account"
)


@dataclass(frozen=True)
class Hub:
    """Where the hub is, or a mirror of it, and the token that it knows the user by."""

    endpoint: str = HUB
    token: str | None = None

    def address(self, url: str) -> str:
        """Return where `url`, an address of the hub, is found."""
        if not url.startswith(HUB):
            return url
        return f"{self.endpoint.rstrip('/')}/{url.removeprefix(HUB)}"

    def headers(self, url: str) -> dict[str, str]:
        """Return what must be sent with a request for `url`: the token, to the hub alone.

        Raises WeightsError for a token that no header can hold.
        """
        token = (self.token or "").strip()
        if not token or urlsplit(self.endpoint)[:2] != urlsplit(url)[:2]:
            return {}
        if not fits_in_header(token):
            raise WeightsError("HF_TOKEN has characters that no token of the hub has.")
        return {"Authorization": f"Bearer {token}"}

    def list_files(
        self,
        model: Model,
        folder: Path,
        session: requests.Session,
        waits: Sequence[float] = WAITS,
    ) -> tuple[ModelFile, ...]:
        """Ask the hub which files `model` has and write the listing, and small files, to `folder`.

        Raises WeightsError when the hub cannot be asked, when the repository has not what an
        engine reads, and when the hub states another sum than the catalog. Raises OSError when
        `folder` cannot be written to.
        """
        if model.hub is None:
            raise ValueError(f"{model.name} is in no repository")
        revision = _revision_url(model.hub)
        commit, entries = _read_description(self._get(revision, session, waits), revision)
        wanted = {name: entry for name, entry in entries.items() if _WANTED.fullmatch(name)}
        if "config.json" not in wanted or not any(".safetensors" in name for name in wanted):
            raise WeightsError(
                f"{model.source} has no config.json and safetensors at {model.hub.revision}: "
                "only folders of transformers with weights in that form are read."
            )
        files = []
        # The config first: of another kind of model no gigabytes are fetched.
        for name in sorted(wanted, key=lambda name: (name != "config.json", name)):
            url = f"{HUB}{model.hub.name}/resolve/{commit}/{quote(name)}"
            large = wanted[name].get("lfs")
            if large is not None:
                files.append(_read_large(name, url, large, revision))
                continue
            content = self._get(url, session, waits).content
            _write(folder / name, content, wanted[name].get("blobId"), url)
            files.append(ModelFile(name, url, len(content), hashlib.sha256(content).hexdigest()))
            if name == "config.json":
                engine_of(folder, model.source)
        _hold_to_catalog(model, files)
        write_listing(folder, files)
        tell(
            f"{model.name}: sums that this version does not hold are those that "
            f"{urlsplit(self.endpoint).netloc} states for commit {commit[:_DIGITS]}: kept, and "
            "trusted from now on"
        )
        return tuple(files)

    def _get(
        self, url: str, session: requests.Session, waits: Sequence[float]
    ) -> requests.Response:
        address = self.address(url)

        def ask() -> requests.Response:
            response = session.get(
                address, headers=self.headers(address), timeout=(CONNECT_SECONDS, READ_SECONDS)
            )
            response.raise_for_status()
            return response

        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_help),
            stop=tenacity.stop_after_attempt(len(waits) + 1),
            wait=lambda state: [*waits, 0.0][state.attempt_number - 1],
            reraise=True,
        )
        try:
            response: requests.Response = tries(ask)
        except requests.RequestException as error:
            raise WeightsError(f"{address} {refusal(error) or reason(error)}.") from error
        return response


def refusal(error: requests.RequestException) -> str | None:
    """Return what to say where the hub wants to know who asks; None where that is not it."""
    if isinstance(error, requests.HTTPError) and error.response.status_code in _REFUSED:
        return _MAY_READ_NOT
    return None


def _revision_url(repository: HubRepository) -> str:
    revision = quote(repository.revision, safe="")
    return f"{HUB}api/models/{repository.name}/revision/{revision}?blobs=true"


def _read_description(
    response: requests.Response, url: str
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the commit and, by name, what the hub says of each file."""
    try:
        described = response.json()
        commit = described["sha"]
        entries = {str(entry["rfilename"]): dict(entry) for entry in described["siblings"]}
    except (TypeError, ValueError, KeyError) as error:
        raise WeightsError(f"{url} does not answer as the hub does.") from error
    if not _COMMIT.fullmatch(str(commit)):
        raise WeightsError(f"{url} does not answer as the hub does: it names no commit.")
    return commit, entries


def _read_large(name: str, url: str, stated: object, said_by: str) -> ModelFile:
    """Return a file of the large file storage; raises WeightsError for one that cannot be."""
    size, sha256 = (
        (stated.get("size"), stated.get("sha256")) if isinstance(stated, dict) else (None, None)
    )
    try:
        return checked(ModelFile(name, url, size, sha256))  # type: ignore[arg-type]
    except ValueError as error:
        raise WeightsError(f"{said_by} does not answer as the hub does: {error}.") from error


def _write(path: Path, content: bytes, git_sum: object, url: str) -> None:
    """Write a small file that git has the sum of; raises WeightsError if it is another."""
    if _git_sum(content) != git_sum:
        raise WeightsError(f"{url} is not the file that the hub lists: try again.")
    path.write_bytes(content)


def _hold_to_catalog(model: Model, files: Sequence[ModelFile]) -> None:
    stated = {file.name: file for file in files}
    for known in model.files:
        found = stated.get(known.name)
        if found is None or (found.bytes, found.sha256) != (known.bytes, known.sha256):
            raise WeightsError(
                f"{model.source} states another sum for {known.name} than was published: "
                f"expected {known.sha256}."
            )


def _git_sum(content: bytes) -> str:
    """Return what git calls a file with this content: https://git-scm.com/book, Git Objects."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
