"""A real Label Studio on loopback, and what the tests ask of it over its API."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grounded_labeler.demo.process import HERE, ROOT, answers, free_port, running
from tests.helpers import prompt_servers

PROGRAMS = ROOT / ".venv-e2e" / "bin"
# Where `label-studio` is, by release.
RELEASES = {"newest": PROGRAMS, "oldest": ROOT / ".venv-e2e-oldest" / "bin"}
DATABASES = ("sqlite", "postgresql")
USER, PASSWORD = "annotator@example.com", "annotator-1"
LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"

Region = dict[str, Any]


@dataclass(frozen=True)
class LabelStudio:
    """`files` is the folder it serves as local files."""

    url: str
    files: Path
    _personal: list[str] = field(default_factory=list)  # the one token, once it is made

    def project(self, title: str, config: str) -> int:
        return int(self._post("/api/projects", json={"title": title, "label_config": config})["id"])

    def connect(self, project: int, service: str) -> int:
        """Connect the service at that address as the project's interactive backend."""
        form = {"title": "grounded-labeler", "is_interactive": True}
        backend = self._post("/api/ml", json=form | {"project": project, "url": service})
        assert backend["readable_state"] == "Connected", backend
        return int(backend["id"])

    def backends(self, project: int) -> list[dict[str, Any]]:
        return self._get_list(f"/api/ml?project={project}")

    def upload(self, project: int, *images: Path) -> list[int]:
        """Upload files as the import page does; returns a task for each, in order."""
        ids = [
            self._post(
                f"/api/projects/{project}/import",
                files={"file": (image.name, image.read_bytes())},
            )["file_upload_ids"][0]
            for image in images
        ]
        tasks = {task["file_upload"]: task["id"] for task in self.tasks(project)}
        uploads = {i: Path(self._get(f"/api/import/file-upload/{i}")["file"]).name for i in ids}
        return [tasks[uploads[i]] for i in ids]

    def add(self, project: int, image: str) -> int:
        """A task whose image is at an address."""
        return int(
            self._post("/api/tasks", json={"project": project, "data": {"image": image}})["id"]
        )

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """Oldest first, with the addresses of their images as they are kept."""
        query = f"project={project}&page_size=1000&fields=all&resolve_uri=false"
        found = self._get(f"/api/tasks?{query}")["tasks"]
        return sorted(found, key=lambda task: int(task["id"]))

    def open(self, task: int) -> dict[str, Any]:
        """What opening a task asks for; Label Studio asks the backend first."""
        return self._get(f"/api/tasks/{task}")

    def annotations(self, task: int) -> list[list[Region]]:
        """The results of each saved annotation."""
        return [saved["result"] for saved in self._get_list(f"/api/tasks/{task}/annotations")]

    def annotation(self, task: int) -> list[Region]:
        """The result of the one annotation that was saved."""
        [result] = self.annotations(task)
        return result

    def predictions(self, project: int) -> list[dict[str, Any]]:
        return self._get_list(f"/api/predictions?project={project}")

    def count_predictions(self, project: int) -> int:
        return int(self._get(f"/api/tasks?project={project}&page_size=1")["total_predictions"])

    def prediction(self, task: int) -> list[Region]:
        """The result of the one prediction there is."""
        [prediction] = self._get_list(f"/api/predictions?task={task}")
        result: list[Region] = prediction["result"]
        return result

    def ask(self, backend: int, task: int, prompt: str) -> list[Region]:
        """What comes of a prompt that is typed, without an editor."""
        entry = {
            "value": {"text": [prompt]}, "id": "y3O1S0tttR", "from_name": "prompt",
            "to_name": "image", "type": "textarea", "origin": "manual",
        }  # fmt: skip
        return self.draw(backend, task, entry)

    def draw(self, backend: int, task: int, *shapes: Region) -> list[Region]:
        """What comes of shapes that are drawn, without an editor."""
        return self.context(backend, task, result=list(shapes))

    def context(self, backend: int, task: int, **context: Any) -> list[Region]:
        """What an editor gets for a context."""
        path = f"/api/ml/{backend}/interactive-annotating"
        answer = self._post(path, json={"task": task, "context": context})
        assert "data" in answer, answer
        result: list[Region] = answer["data"]["result"]
        return result

    def annotate(self, task: int, result: list[Region], *, skip: bool = False) -> None:
        """Submit an annotation of these regions, or skip the task with them."""
        body = {"result": result, "was_cancelled": skip}
        self._post(f"/api/tasks/{task}/annotations", json=body)

    def predict(self, task: int, result: list[Region]) -> None:
        """Put a prediction of these regions in the place of those that the task has."""
        for prediction in self._get_list(f"/api/predictions?task={task}"):
            self._call("DELETE", f"/api/predictions/{prediction['id']}")
        self._post("/api/predictions", json={"task": task, "result": result})

    def personal_access_token(self) -> str:
        """A token as Account & Settings makes them: good for nothing but an exchange.

        There is one of a user, and it is whole only where it is made.
        """
        if not self._personal:
            self._personal.append(str(self._post("/api/token/", json={})["token"]))
        return self._personal[0]

    def sync_storage(self, kind: str, **options: Any) -> None:
        """Connect a storage of this kind and make a task of each file in it."""
        storage = self._post(f"/api/storages/{kind}", json={"use_blob_urls": True} | options)
        synced = self._post(f"/api/storages/{kind}/{storage['id']}/sync", json={})
        assert synced["status"] == "completed", synced

    def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", path)
        return found

    def _get_list(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", path)
        return found

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        made: dict[str, Any] = self._call("POST", path, **body)
        return made

    def _call(self, method: str, path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
        response = HERE.request(method, self.url + path, headers=headers, timeout=110, **body)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text[:500]}"
        return response.json() if response.content else None


@contextmanager
def run_label_studio(
    folder: Path, release: str = "newest", database: str = "sqlite"
) -> Iterator[LabelStudio]:
    """Start one with an empty database and a user of its own; end it afterwards.

    Args:
        folder: for its files, and for the database if that is SQLite
        release: of RELEASES
        database: of DATABASES
    """
    data, files = folder / "data", folder / "files"
    shutil.rmtree(folder, ignore_errors=True)
    files.mkdir(parents=True)
    port = free_port()
    environ = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_USERNAME": USER,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": LEGACY_TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(files),
        # Since 1.23.1 it talks to no backend on a private address unless told to.
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    where = ["--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    command = [str(RELEASES[release] / "label-studio"), "start", *where]
    url = f"http://127.0.0.1:{port}"
    log = folder.parent / "label-studio.log"
    with _database(database) as settings:
        environ |= settings
        with running(command, os.environ | environ, log, lambda: answers(f"{url}/health")):
            yield LabelStudio(url, files)


@contextmanager
def _database(kind: str) -> Iterator[dict[str, str]]:
    """Start the database if it is a server; yields what tells Label Studio of it."""
    if kind == "sqlite":
        yield {"DJANGO_DB": "sqlite"}
        return
    with prompt_servers.run_postgresql() as server:
        # The server's own databases are in Latin-1, which Label Studio's texts do not fit in.
        with closing(server.connect()) as connection:
            connection.execute("CREATE DATABASE labels ENCODING 'UTF8' TEMPLATE template0")
        at = urlsplit(server.url)
        yield {
            "DJANGO_DB": "default",
            "POSTGRE_HOST": str(at.hostname),
            "POSTGRE_PORT": str(at.port),
            "POSTGRE_USER": prompt_servers.USER,
            "POSTGRE_PASSWORD": prompt_servers.PASSWORD,
            "POSTGRE_NAME": "labels",
            # Indexes for searching in results, of extensions that this PostgreSQL is without.
            "SKIP_TRIGRAM_EXTENSION": "full",
            "SKIP_BTREE_GIN_EXTENSION": "full",
        }
