"""From what a task calls its image to the bytes of the file."""

import math
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urljoin

from urllib3.util import Url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.connections import TotalTimeout
from grounded_labeler.images.data_urls import read_data_url
from grounded_labeler.images.http_client import Client, HttpResponse
from grounded_labeler.images.http_response import too_large
from grounded_labeler.images.image_routes import at_origin, resolve_route, safe, takes_token
from grounded_labeler.images.label_studio_auth import NEW_TOKEN, AccessTokens, Origin, is_personal
from grounded_labeler.images.proxies import Proxies
from grounded_labeler.images.resolving import Resolver
from grounded_labeler.images.ssrf import origin_of, parse_http, redacted

__all__ = ["Fetcher", "Origin"]

MAX_REDIRECTS = 3

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_REDIRECTS = (301, 302, 303, 307, 308)
_CLOUD = ("s3://", "gs://", "azure-blob://")
LOCAL_FILES = "/data/local-files/"


class Fetcher:
    """Gets image files from Label Studio, the web, data URIs and, if allowed, a local folder.

    `allowed_hosts` are host names and CIDR networks that may have private addresses.
    `max_bytes` caps a file. `local_files_root` is the folder Label Studio's local
    files lie in as seen from here; None fetches them over HTTP. Timeouts in seconds,
    `total_timeout` for one image with its redirects. `proxies` are for hosts that
    `allowed_hosts` names. Threads may share a fetcher.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Sequence[str] = (),
        max_bytes: int = 100_000_000,
        local_files_root: Path | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 15.0,
        total_timeout: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
        proxies: Proxies | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._client = Client(
            allowed_hosts=allowed_hosts,
            max_bytes=max_bytes,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            ssl_context=ssl_context,
            proxies=proxies,
            resolver=resolver,
        )
        self._tokens = AccessTokens(self._client)
        self._max_bytes = max_bytes
        self._local_files_root = local_files_root
        self._total_timeout = total_timeout

    def fetch(
        self,
        uri: str,
        origin: Origin | None,
        task_id: int | None = None,
        time_left: float = math.inf,
    ) -> bytes:
        """The bytes of the image that a task calls `uri`.

        `origin` is the Label Studio the task comes from, None when it is not known.
        `task_id` is needed for cloud addresses (s3://, gs://, azure-blob://), which
        Label Studio resolves task by task. `time_left` is in seconds, and shortens
        `total_timeout`. Raises ImageError.
        """
        uri = uri.strip()
        kind = uri.lower()
        if kind.startswith("data:"):
            return read_data_url(uri, self._max_bytes)
        if kind.startswith(_CLOUD):
            uri = resolve_route(uri, task_id)
        elif not kind.startswith(("/", "http://", "https://")) or kind.startswith("//"):
            raise ImageError(
                f"The image address {safe(uri)!r} is of a kind that is not opened here."
            )
        path, _, query = uri.partition("?")
        at_home = path.startswith("/") or (origin is not None and origin.owns(parse_http(uri)))
        if self._local_files_root and at_home and path.endswith(LOCAL_FILES):
            return self._read_local(self._local_files_root, query)
        url = at_origin(uri, origin) if path.startswith("/") else parse_http(uri)
        return self._download(url, origin, min(self._total_timeout, time_left))

    def _download(self, url: Url, origin: Origin | None, seconds: float) -> bytes:
        with_token = takes_token(url, origin)
        with TotalTimeout(seconds) as deadline:
            for _ in range(MAX_REDIRECTS + 1):
                answer = self._ask(url, origin, deadline, with_token=with_token)
                if answer.status == _OK:
                    return answer.body
                if answer.status not in _REDIRECTS or not answer.location:
                    raise ImageError(_refusal(answer.status, url, origin if with_token else None))
                target = _redirected(url, answer.location)
                if with_token and _is_moved(url, target):
                    raise ImageError(
                        f"Label Studio has moved to {target.scheme}://{target.netloc}: set "
                        f"LABEL_STUDIO_URL to that address."
                    )
                # Dropped for good: no redirect brings it back.
                with_token = with_token and takes_token(target, origin)
                url = target
        raise ImageError(f"The image is behind more than {MAX_REDIRECTS} redirects.")

    def _ask(
        self, url: Url, origin: Origin | None, deadline: TotalTimeout, *, with_token: bool
    ) -> HttpResponse:
        trusted = origin is not None and origin.trusted and origin.owns(url)
        if origin is None or not with_token:
            return self._client.send(url, deadline, trusted=trusted)
        for renew in (False, True):
            token = self._tokens.header(origin, deadline, renew=renew)
            headers = {"Authorization": token} if token else {}
            answer = self._client.send(url, deadline, trusted=trusted, headers=headers)
            if answer.status != _UNAUTHORIZED or not is_personal(origin):
                break
        return answer

    def _read_local(self, folder: Path, query: str) -> bytes:
        name = parse_qs(query).get("d", [""])[-1]
        # A Label Studio on Windows writes folder\image.jpg; here that can be a name, too.
        spellings = dict.fromkeys((name, name.replace("\\", "/")))
        try:
            root = folder.resolve()
            paths = [(root / spelling.lstrip("/")).resolve() for spelling in spellings]
            # is_file(): a pipe under the root would be waited for without end.
            files = [path for path in paths if path.is_relative_to(root) and path.is_file()]
            if not files:
                raise ImageError(f"There is no file {safe(name)!r} under LOCAL_FILES_ROOT.")
            with files[0].open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise ImageError(
                f"The file {safe(name)!r} under LOCAL_FILES_ROOT cannot be read."
            ) from error
        if len(data) > self._max_bytes:
            raise ImageError(too_large(self._max_bytes))
        return data


def _redirected(url: Url, location: str) -> Url:
    try:
        return parse_http(urljoin(str(url), location))
    except ValueError as error:
        raise ImageError(f"{redacted(url)} redirects to an address that is not valid.") from error


def _is_moved(url: Url, target: Url) -> bool:
    return origin_of(target) != origin_of(url) and (target.host, target.path) == (
        url.host,
        url.path,
    )


def _refusal(status: int, url: Url, origin: Origin | None) -> str:
    where = redacted(url)
    if origin is None or not origin.owns(url):
        return f"{where} answered with status {status} instead of the image."
    if status == _UNAUTHORIZED and not origin.token:
        return f"Label Studio wants a token (401): {NEW_TOKEN}."
    if status == _UNAUTHORIZED:
        return (
            f"Label Studio refused the token (401), legacy tokens are off by default: {NEW_TOKEN}."
        )
    if status == _FORBIDDEN:
        return (
            f"Label Studio forbids {where} (403): the token's user must see the project, and local "
            f"files need LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED there."
        )
    if status == _NOT_FOUND:
        return (
            f"Label Studio has no image at {where} (404): check that the file is still there, its "
            f"storage is connected to the project, and LABEL_STUDIO_URL ends in the path that "
            f"Label Studio is served under, if there is one."
        )
    return f"Label Studio answered with status {status} instead of the image at {where}."
