"""A project to try in a Label Studio that runs: `grounded-labeler demo seed`.

Makes it once: with the bundled images, the labels of the demo models, and the service
connected. Reads LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY as the service does, and
SERVICE_URL, where Label Studio reaches the service.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import requests

from grounded_labeler.demo.process import HERE
from grounded_labeler.demo.show import LABEL_CONFIG, SAMPLES
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings

TITLE = "Shapes: type what you see"
INSTRUCTION = (
    "Turn Auto-Annotation on, type <b>blue star . red circle</b> above the image, press Add. "
    "The demo models know circles, squares, triangles, stars and rings, each red, green, blue, "
    "yellow, purple or orange."
)
_PATIENCE_S = 120  # as Label Studio asks the service on the way


class SeedError(GroundedLabelerError):
    """Label Studio did not do what it was asked; the message says what it said."""


class _LabelStudio:
    def __init__(self, url: str, token: str) -> None:
        self._url, self._headers = url.rstrip("/"), {"Authorization": f"Token {token}"}

    def call(self, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        """What it answers; raises SeedError with its own words when it refuses."""
        try:
            response = HERE.request(
                method, self._url + path, headers=self._headers, timeout=_PATIENCE_S, **body
            )
        except requests.RequestException as error:
            raise SeedError(f"Label Studio at {self._url} does not answer: {error}") from error
        if not response.ok:
            said = response.text[:500]
            raise SeedError(f"Label Studio refused {path}: {response.status_code} {said}")
        return response.json()


def seed(label_studio: _LabelStudio, service: str) -> str:
    """Make the project unless there is one of its title; returns a line about what was done."""
    found = label_studio.call("GET", "/api/projects?page_size=1000")["results"]
    if any(project["title"] == TITLE for project in found):
        return f"The project {TITLE!r} is there already."
    project = label_studio.call(
        "POST",
        "/api/projects",
        json={
            "title": TITLE,
            "label_config": LABEL_CONFIG,
            "expert_instruction": INSTRUCTION,
            "show_instruction": True,
        },
    )["id"]
    for image in sorted(SAMPLES.glob("*.jpg")):
        upload = {"file": (image.name, image.read_bytes())}
        label_studio.call("POST", f"/api/projects/{project}/import", files=upload)
    backend = {"project": project, "url": service, "title": "grounded-labeler"}
    label_studio.call("POST", "/api/ml", json=backend | {"is_interactive": True})
    return f"The project {TITLE!r} is made, with the service at {service} connected."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 when Label Studio refused."""
    parser_of("demo seed", __doc__ or "").parse_args(argv)
    try:
        settings = Settings.from_env(os.environ)
        if settings.label_studio_url is None or settings.label_studio_api_key is None:
            raise SeedError("LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY must be set.")
        token = settings.label_studio_api_key.get_secret_value()
        label_studio = _LabelStudio(settings.label_studio_url, token)
        service = os.environ.get("SERVICE_URL") or f"http://localhost:{settings.port}"
        sys.stdout.write(f"{seed(label_studio, service)}\n")
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    from grounded_labeler.cli.main import run_old

    run_old("grounded_labeler.demo.seed", "demo", "seed")
