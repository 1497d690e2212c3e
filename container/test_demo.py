"""`docker compose --profile demo up`: Label Studio, a project and the service, in one command.

Where Label Studio's own image cannot be had, one with the same version of its package
stands in for it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from container.engine import BUILD_PATIENCE_S, Compose, ComposeError, docker

LABEL_STUDIO = "heartexlabs/label-studio:1.23.2"
STAND_IN = """
FROM python:3.11-slim-bookworm
COPY requirements-e2e.txt /
RUN pip install --no-cache-dir --no-deps -r requirements-e2e.txt
ENV LABEL_STUDIO_BASE_DATA_DIR=/label-studio/data
RUN install --directory --owner=1001 --mode=0777 /label-studio/data
USER 1001:0
CMD ["label-studio", "start", "--no-browser", "--internal-host", "0.0.0.0", "--port", "8080"]
"""

# What the demo's visitor does next: the first task's image, and what the editor sends.
VISIT = """
import json, os
from grounded_labeler.demo.process import HERE
url, token = os.environ["LABEL_STUDIO_URL"], os.environ["LABEL_STUDIO_API_KEY"]
def call(method, path, **body):
    answer = HERE.request(method, url + path, headers={"Authorization": "Token " + token},
                          timeout=110, **body)
    assert answer.ok, answer.text
    return answer.json()
[project] = call("GET", "/api/projects")["results"]
[backend] = call("GET", f"/api/ml?project={project['id']}")
tasks = call("GET", f"/api/tasks?project={project['id']}&fields=all")["tasks"]
typed = {"value": {"text": ["star . circle"]}, "id": "y3O1S0tttR", "from_name": "prompt",
         "to_name": "image", "type": "textarea", "origin": "manual"}
found = [
    call("POST", f"/api/ml/{backend['id']}/interactive-annotating",
         json={"task": task["id"], "context": {"result": [typed]}})
    for task in tasks
]
print(json.dumps({"title": project["title"], "state": backend["readable_state"],
                  "interactive": backend["is_interactive"],
                  "labels": [sorted({label for region in one["data"]["result"]
                                     for label in region["value"].get("brushlabels", [])})
                             for one in found]}))
"""


@pytest.fixture(scope="module")
def demo(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    try:
        docker("image", "inspect", LABEL_STUDIO)
    except ComposeError:
        _get_label_studio(compose.folder, tmp_path_factory.mktemp("label-studio"))
    compose.run("--profile", "demo", "build", patience=BUILD_PATIENCE_S)
    compose.up("label-studio", "labeler-demo", profile="demo")
    # `up --wait` fails on a service that ends, though with success, as this one does.
    compose.run("--profile", "demo", "up", "--no-build", "--detach", "seed-demo")
    compose.run("wait", "seed-demo")
    yield compose
    compose.down()


def _get_label_studio(checkout: Path, folder: Path) -> None:
    try:
        docker("pull", LABEL_STUDIO)
    except ComposeError:
        (folder / "Dockerfile").write_text(STAND_IN)
        lock = (checkout / "requirements-e2e.txt").read_text()
        (folder / "requirements-e2e.txt").write_text(lock)
        docker("build", "--tag", LABEL_STUDIO, str(folder), patience=BUILD_PATIENCE_S)


def test_a_project_waits_with_the_service_connected(demo: Compose) -> None:
    found = demo.python("labeler-demo", VISIT)
    assert found["title"] == "Shapes: type what you see"
    assert (found["state"], found["interactive"]) == ("Connected", True)
    assert len(found["labels"]) == 4
    assert ["Circle", "Star"] in found["labels"]


def test_it_is_made_once(demo: Compose) -> None:
    said = demo.run("--profile", "demo", "run", "--rm", "--no-deps", "seed-demo")
    assert "is there already" in said
