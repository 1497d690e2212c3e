"""A registry of its own for the tests, in a container beside the others."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from container.engine import BUILD_PATIENCE_S, docker

# Debian's package: its mirrors are there wherever images are built.
_DOCKERFILE = """
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends docker-registry
COPY config.yml /
CMD ["docker-registry", "serve", "/config.yml"]
"""
# The package's own asks for a password.
_CONFIG = """
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: ":5000"}
"""
_WAIT = """
import time, urllib.request
for _ in range(100):
    try:
        urllib.request.urlopen("http://127.0.0.1:5000/v2/").read()
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit("the registry does not answer")
"""
IMAGE = "grounded-labeler-test-registry"


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run one, empty; its address as the engine reaches it. Removed afterwards, with its images."""
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    (folder / "config.yml").write_text(_CONFIG)
    docker("build", "--tag", IMAGE, str(folder), patience=BUILD_PATIENCE_S)
    name = f"{IMAGE}-{uuid.uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, "--publish", "127.0.0.1::5000", IMAGE)
    try:
        docker("exec", "--interactive", name, "python", "-", stdin=_WAIT)
        # Engines need no certificate of a registry on their own machine.
        yield docker("port", name, "5000").strip()
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("rmi", IMAGE)
