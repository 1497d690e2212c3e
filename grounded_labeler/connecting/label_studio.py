"""Label Studio as the service sees it: reachable, by which token, and with which images."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from grounded_labeler._text import shorten
from grounded_labeler.cache import ByteCache
from grounded_labeler.connecting.failures import project_problem, token_problem
from grounded_labeler.connecting.findings import Finding, fail, ok, warn
from grounded_labeler.errors import BadRequest, ImageError
from grounded_labeler.images.label_studio_auth import Origin, is_personal
from grounded_labeler.images.source import Source
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task, address_of, load_image
from grounded_labeler.label_studio_api.client import Client, LabelStudioError
from grounded_labeler.label_studio_api.ml_backends import list_backends
from grounded_labeler.label_studio_api.sample_tasks import SampleTasks
from grounded_labeler.service import label_studio_of, make_fetcher
from grounded_labeler.settings import Settings

_UNSET = (
    "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, without which no uploaded image is fetched."
)
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_LOOKED_AT = 50  # tasks, of those with the lowest and of those with the highest ids
_OF_EACH = 3  # images, of each place
_PLACES = 10
_IMAGE_SECONDS = 15.0
_BUCKETS = {"s3": "s3://", "gcs": "gs://", "azure": "azure-blob://"}


def label_studio(settings: Settings) -> list[Finding]:
    """Find whether Label Studio answers, and knows the token."""
    found = label_studio_of(settings)
    if found is None:
        return [warn("label studio", "no address is set", _UNSET)]
    if found.token is None:
        return [warn("label studio", f"{found.url}: no token is set", _UNSET)]
    kind = _kind(found)
    try:
        client = Client(found.url, found.token, _TIMEOUT)
        user = client.call("GET", "api/current-user/whoami")
        about = client.call("GET", "api/version")
    except LabelStudioError as error:
        problem = token_problem(error)
        said = f"{found.url}, {kind}: {problem or error}"
        return [fail("label studio", said)]
    release = about.get("label-studio-os-package") if isinstance(about, dict) else None
    number = release.get("version") if isinstance(release, dict) else None
    who = user.get("email") if isinstance(user, dict) else None
    said = f"{found.url}: version {number or 'unknown'}, the {kind} works, of user {who or '?'}"
    return [ok("label studio", said)]


def _kind(found: Origin) -> str:
    return "personal access token" if is_personal(found) else "legacy token"


def project(settings: Settings, number: int) -> Iterator[Finding]:
    """Find whether a project has what it needs, and its images can be fetched from here."""
    found = label_studio_of(settings)
    if found is None or found.token is None:
        yield fail("project", f"{number} was not looked at", _UNSET)
        return
    try:
        client = Client(found.url, found.token, _TIMEOUT)
        tasks = SampleTasks(client, number)
        config = tasks.label_config()
        backends = list_backends(client, number)
        storages = client.call("GET", "api/storages", project=number)
        looked_at = {
            task["id"]: task for task in [*tasks.first(_LOOKED_AT), *tasks.last(_LOOKED_AT)]
        }
    except LabelStudioError as error:
        yield fail("project", project_problem(error, number, found.url) or str(error))
        return
    how = f"`grounded-labeler connect --project {number} --labels ...` adds what is missing."
    try:
        target = read_label_config(config).images[0]
    except BadRequest as error:
        yield fail("project", str(error), how)
        return
    lacking = [] if target.prompt_name else ["a field for prompts"]
    lacking += [] if any(one.is_interactive for one in backends) else ["an interactive model"]
    if lacking:
        yield warn("project", f"{number} lacks {' and '.join(lacking)}", how)
    else:
        yield ok("project", f"{number} has a field for prompts and an interactive model")
    if not looked_at:
        yield warn("images", f"project {number} has no tasks", "Import some images.")
        return
    every = list(looked_at.values())
    for storage in storages:
        if text := _text_of(storage):
            every += tasks.containing(target.value.name, text, _OF_EACH)
    yield from _images(settings, found, target, every)


def _text_of(storage: Mapping[str, Any]) -> str | None:
    """What the addresses of a storage's tasks have in them, None where that is not known."""
    kind = str(storage.get("type") or "")
    bucket = storage.get("bucket") or storage.get("container")
    if kind in _BUCKETS and bucket:
        return f"{_BUCKETS[kind]}{bucket}/{storage.get('prefix') or ''}"
    return "/data/local-files/" if kind == "localfiles" else None


def _images(
    settings: Settings, found: Origin, target: ImageTarget, tasks: list[Task]
) -> Iterator[Finding]:
    source = Source(
        make_fetcher(settings), found, ByteCache(0), settings.max_image_pixels, settings.stretch
    )
    for place, own in list(_places(tasks, target).items())[:_PLACES]:
        some = list({task["id"]: task for task in own}.values())[:_OF_EACH]
        reasons = []
        for task in some:
            try:
                load_image(source, task, target, _IMAGE_SECONDS)
            except ImageError as error:
                reasons.append(f"task {task['id']}: {error}")
        said = f"{place}: {len(some) - len(reasons)} of {len(some)} that were tried can be read"
        if reasons:
            remedy = "docs/troubleshooting.md, Images that cannot be fetched, has more."
            yield fail("images", f"{said}; {reasons[0]}", remedy)
        else:
            yield ok("images", said)


def _places(tasks: list[Task], target: ImageTarget) -> dict[str, list[Task]]:
    """The tasks by where their images are: a storage, uploads, or a host."""
    places: dict[str, list[Task]] = {}
    for task in tasks:
        try:
            address = address_of(task, target)
        except ImageError:
            place = "tasks without an image"
        else:
            place = _place(address)
        places.setdefault(place, []).append(task)
    return places


def _place(address: str) -> str:
    split = urlsplit(address)
    if address.lower().startswith("data:"):
        return "images inside tasks"
    if not split.scheme:
        local = "/data/local-files/" in split.path
        return "local files of Label Studio" if local else "uploads"
    return shorten(f"{split.scheme}://{split.hostname or ''}")
