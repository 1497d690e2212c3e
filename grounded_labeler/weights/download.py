"""Fetch model files; an interrupted download continues where it stopped."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import requests
import tenacity
from rich.console import Console
from rich.filesize import decimal
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from grounded_labeler.console import tell
from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.catalog import HUB, make_weights
from grounded_labeler.weights.checksums import mark_verified, sha256_of, size_of
from grounded_labeler.weights.hub import Hub, refusal
from grounded_labeler.weights.listing import files_of
from grounded_labeler.weights.lock import locked
from grounded_labeler.weights.model import Model, ModelFile
from grounded_labeler.weights.transfer import (
    CONNECT_SECONDS,
    READ_SECONDS,
    WAITS,
    may_help,
    reason,
)

CHUNK_BYTES = 1 << 16  # at most this much of what came is lost when a connection is cut


def download(
    model: Model,
    model_dir: Path,
    *,
    waits: Sequence[float] = WAITS,
    hub: Hub = Hub(),  # noqa: B008 - it is frozen
    accepted: Collection[str] = (),
) -> None:
    """Fetch what `model` lacks under `model_dir`; a file takes its name only once it is checked.

    An interrupted download continues where it stopped.

    Args:
        model: the model to fetch.
        model_dir: folder of the weights.
        waits: seconds before each try after one that brought nothing new.
        hub: where the hub's files come from, and who asks for them.
        accepted: names of the models whose terms the user has accepted.

    Raises WeightsError, also where terms were not accepted.
    """
    for part in model.parts:
        if part.bundled is not None:
            tell(f"{part.name}: comes with this package, nothing to download")
            continue
        if part.own is not None:
            tell(f"{part.name}: is your own, in {part.own}, nothing to download")
            continue
        tell(f"{part.name}: licence {part.licence}, from {part.source}")
        _check_terms(part, accepted)
        folder = part.folder(model_dir)
        try:
            _fetch(part, folder, model_dir, hub, waits)
        except OSError as error:
            raise WeightsError(
                f"Cannot use {folder}: {error.strerror}. Free some space there, or set MODEL_DIR"
                f" to a folder that can be written to, and run `{make_weights()}` again."
            ) from error


def pinned(model: Model, model_dir: Path, hub: Hub, waits: Sequence[float] = WAITS) -> str:
    """Return the lines of Python with which the catalog would hold a model of the hub.

    Fetches the listing and small files, where they are not here. Empty for other models.
    Raises WeightsError.
    """
    if model.hub is None:
        return ""
    with requests.Session() as session:
        files = _files(model, model_dir, hub, session, waits)
    lines = [
        f'        ModelFile("{file.name}", f"{{HUB}}{file.url.removeprefix(HUB)}", '
        f'{file.bytes:_}, "{file.sha256}"),\n'
        for file in files
    ]
    return f"# {model.name}, as its hub states it\n    files=(\n{''.join(lines)}    ),\n"


def fetch(file: ModelFile, folder: Path, *, waits: Sequence[float] = WAITS) -> Path:
    """Fetch one file into `folder`, unless it is there, and return its path.

    Raises WeightsError as `download` does, OSError when the folder cannot be written to.
    """
    path = folder / file.name
    if not _is_there(file, path):
        with locked(folder, "another download to end"), requests.Session() as session:
            _obtain(file, path, session, waits, Hub())
    return path


def _check_terms(model: Model, accepted: Collection[str]) -> None:
    if model.terms is None:
        return
    terms = model.terms
    tell(f"{model.name}: {terms.name}: {terms.summary}. The text that counts: {terms.url}")
    if model.name not in accepted:
        raise WeightsError(
            f"{model.name} has terms of its own, named above: read them, and set "
            f"ACCEPT_LICENCES={model.name} if you accept them."
        )


def _fetch(part: Model, folder: Path, model_dir: Path, hub: Hub, waits: Sequence[float]) -> None:
    with requests.Session() as session:
        files = _files(part, model_dir, hub, session, waits)
        absent = [file for file in files if not _is_there(file, folder / file.name)]
        if absent:
            with locked(folder, "another download to end"):
                for file in absent:
                    _obtain(file, folder / file.name, session, waits, hub)


def _files(
    part: Model, model_dir: Path, hub: Hub, session: requests.Session, waits: Sequence[float]
) -> tuple[ModelFile, ...]:
    """Return the files of a part of a model; the hub is asked where nothing is known of them."""
    files = files_of(part, model_dir)
    if files is None:
        folder = part.folder(model_dir)
        with locked(folder, "another download to end"):
            # Another process may have asked while this one waited for the lock.
            files = files_of(part, model_dir) or hub.list_files(part, folder, session, waits)
    return files


def _obtain(
    file: ModelFile, path: Path, session: requests.Session, waits: Sequence[float], hub: Hub
) -> None:
    if _is_there(file, path):  # another process fetched it while this one waited for the lock
        return
    file = replace(file, url=hub.address(file.url))
    tell(f"{path}: downloading {decimal(file.bytes)} from {urlsplit(file.url).netloc}")
    partial = path.with_name(f"{path.name}.part")
    if (size_of(partial) or 0) > file.bytes:
        partial.unlink()
    _receive(file, partial, session, waits, hub.headers(file.url))
    found = sha256_of(partial)
    if found != file.sha256:
        partial.unlink()
        raise WeightsError(
            f"{file.name} from {file.url} is not what was published: its SHA-256 is {found},"
            f" expected {file.sha256}. It was deleted; run `{make_weights()}` to try again."
        )
    partial.replace(path)
    mark_verified(file, path)


def _receive(
    file: ModelFile,
    partial: Path,
    session: requests.Session,
    waits: Sequence[float],
    headers: Mapping[str, str],
) -> None:
    """Fill `partial` to its full size, with further tries as long as they can help."""
    furthest, in_vain = size_of(partial) or 0, 0

    def count(_: tenacity.RetryCallState) -> None:
        # A try that gets further resets the count: a slow line may cut a file of gigabytes
        # often and still bring it.
        nonlocal furthest, in_vain
        reached = size_of(partial) or 0
        in_vain = 1 if reached > furthest else in_vain + 1
        furthest = max(furthest, reached)

    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception(may_help),
        after=count,
        stop=lambda _: in_vain > len(waits),
        wait=lambda _: [*waits, 0.0][in_vain - 1],
        reraise=True,
    )
    try:
        if furthest != file.bytes:
            tries(_stream, file, partial, session, headers)
    except requests.RequestException as error:
        reached = size_of(partial) or 0
        raise WeightsError(
            f"{file.name} was not downloaded ({reached} of {file.bytes} bytes are here):"
            f" {file.url} {refusal(error) or reason(error)}. Check the connection and HTTPS_PROXY"
            f" and run `{make_weights()}` again; `make demo` needs no connection."
        ) from error


def _stream(
    file: ModelFile, partial: Path, session: requests.Session, headers: Mapping[str, str]
) -> None:
    """Append what `partial` lacks to it, by one request."""
    start = size_of(partial) or 0
    # Compressed responses would make sizes and ranges mean something else.
    headers = {**headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    with session.get(file.url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink(missing_ok=True)
        response.raise_for_status()
        content_range = response.headers.get("Content-Range", "")
        if content_range.startswith(f"bytes {start}-"):
            announced = content_range.rpartition("/")[2]
        else:  # the Range header was ignored: the whole file comes
            start = 0
            announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) != file.bytes:
            raise _wrong_size(file, announced)
        with partial.open("ab" if start else "wb") as out, _progress() as progress:
            bar = progress.add_task(file.name, total=file.bytes, completed=start)
            for chunk in response.iter_content(CHUNK_BYTES):
                progress.advance(bar, out.write(chunk))
                if out.tell() > file.bytes:
                    break
            out.flush()
            os.fsync(out.fileno())
    received = size_of(partial) or 0
    if received > file.bytes:
        partial.unlink()
        raise _wrong_size(file, "more")
    if received < file.bytes:
        raise requests.ConnectionError("the response ended early")


def _progress() -> Progress:
    """Return a progress bar on standard error; none where nobody watches, as in a log."""
    return Progress(
        *Progress.get_default_columns(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        redirect_stdout=False,
    )


def _wrong_size(file: ModelFile, found: str) -> WeightsError:
    return WeightsError(
        f"{file.name} has {file.bytes} bytes, but {file.url} sends {found}: a proxy or a login"
        " page may be answering in its place. The download was discarded; run"
        f" `{make_weights()}` again."
    )


def _is_there(file: ModelFile, path: Path) -> bool:
    """Return whether the right file is in place; read in full, since someone asked for a check."""
    if size_of(path) != file.bytes or sha256_of(path) != file.sha256:
        return False
    tell(f"{path}: already there")
    mark_verified(file, path)
    return True
