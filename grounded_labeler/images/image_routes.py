"""Where Label Studio serves images, under whatever path it is served itself."""

import base64
import re

from urllib3.util import Url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.label_studio_auth import Origin
from grounded_labeler.images.ssrf import parse_http

# Uploads and local files, uploads kept in a cloud, and the two spellings of the route that
# resolves cloud addresses.
_ROUTES = re.compile(r"/(data|storage-data)/.+|/(tasks|projects)/\d+/(resolve|presign)/?")
# Such a route behind something else: another path that Label Studio is served under.
_ROUTE_BEHIND = re.compile(r"\A[^?]+?(?=/(data|storage-data)/|/(tasks|projects)/\d+/)")


def resolve_route(uri: str, task_id: object) -> str:
    """The path at which Label Studio hands out a cloud file, or redirects to it."""
    if not isinstance(task_id, int):  # it comes from a request
        raise ImageError(f"An image at {safe(uri)} can be fetched for a saved task only.")
    # Label Studio decodes with urlsafe_b64decode (io_storages/proxy_api.py).
    coded = base64.urlsafe_b64encode(uri.encode("utf-8", "replace")).decode()
    return f"/tasks/{task_id:d}/resolve/?fileuri={coded}"


def at_origin(path: str, origin: Origin | None) -> Url:
    """`path` on Label Studio, which may be served under a prefix that `path` has or lacks.

    The prefix of `path` may also be another one: Label Studio writes the one that browsers
    use, and a proxy in between may take it off. What remains is a route of images.
    """
    if origin is None:
        raise ImageError(
            "The image is stored in Label Studio, but the service does not know its address. "
            "Administrator: set LABEL_STUDIO_URL."
        )
    home = origin.parsed()
    prefix = home.path or ""
    if prefix and path.startswith(f"{prefix}/"):
        path = path.removeprefix(prefix)
    for spelling in dict.fromkeys((path, _ROUTE_BEHIND.sub("", path, count=1))):
        url = parse_http(f"{home}{spelling}")
        if _is_route(url, origin):
            return url
    raise ImageError(f"The image address {safe(path)!r} is not where Label Studio keeps images.")


def takes_token(url: Url, origin: Origin | None) -> bool:
    """Whether `url` is one that the token of `origin` goes to."""
    return origin is not None and origin.owns(url) and _is_route(url, origin)


def _is_route(url: Url, origin: Origin) -> bool:
    """Whether Label Studio serves images there, with its token; other routes are none of ours.

    Others may be at home beside the prefix it is served under. A parsed URL has no dot
    segments, but for those that are encoded.
    """
    prefix, path = origin.parsed().path or "", url.path or ""
    is_below = path.startswith(prefix) and _ROUTES.fullmatch(path.removeprefix(prefix))
    return bool(is_below) and "%2e" not in path.lower()


def safe(address: str) -> str:
    """As much of a refused address as may be shown: no password, no signature, no image data."""
    scheme, mark, _ = address.partition("://")
    return f"{scheme[:20]}://..." if mark else address.partition("?")[0][:80]
