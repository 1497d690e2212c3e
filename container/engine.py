"""Docker compose as the tests use it: the project's own file, under a name of its own."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grounded_labeler.demo.process import ROOT
from grounded_labeler.settings import variable_names

BUILD_PATIENCE_S, PATIENCE_S = 3000, 300
NAME = "grounded-labeler-test"
# What the compose files read: of these, what is set where the tests run must not count.
_READ = {name for names in variable_names().values() for name in names} | {
    name
    for file in ROOT.glob("docker-compose*.yml")
    for name in re.findall(r"\$\{([A-Z_]+)", file.read_text())
}


class ComposeError(Exception):
    """A command failed; the message has what it wrote."""


def why_no_engine() -> str:
    """Why nothing can be tried in containers here; empty when it can."""
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"no Docker engine with compose answers: {error}"
    return ""


@dataclass(frozen=True)
class Compose:
    """The compose files in `folder` with the settings `environ`.

    Those of the caller's own environment that the files read do not reach them.
    """

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, stdin: str = "", patience: float = PATIENCE_S) -> str:
        """What `docker compose` with these arguments writes; raises ComposeError."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in _READ and not name.startswith("COMPOSE_")
        }
        done = subprocess.run(
            ["docker", "compose", "--project-name", NAME, *arguments],
            cwd=self.folder, env=inherited | dict(self.environ), input=stdin,
            capture_output=True, text=True, timeout=patience, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ComposeError(f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done.stdout

    def up(self, *services: str, profile: str = "") -> None:
        """Start the services and wait until they are healthy."""
        chosen = ["--profile", profile] if profile else []
        wait = str(PATIENCE_S - 10)
        self.run(
            *chosen, "up", "--detach", "--no-build", "--wait", "--wait-timeout", wait, *services
        )

    def down(self) -> None:
        """Remove all containers, networks and volumes of every profile."""
        every = [word for name in ("cpu", "gpu", "demo", "weights") for word in ("--profile", name)]
        self.run(*every, "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def python(self, service: str, script: str) -> Any:
        """What `script` prints as JSON, run by a container's own Python.

        Ports are asked from inside, as an engine may publish them on another machine.
        """
        return json.loads(self.run("exec", "--no-TTY", service, "python", "-", stdin=script))

    def shell(self, service: str, command: str) -> str:
        return self.run("exec", "--no-TTY", service, "sh", "-c", command).strip()

    def logs(self, service: str) -> str:
        return self.run("logs", "--no-color", "--no-log-prefix", service)


def docker(*arguments: str, stdin: str = "", patience: float = PATIENCE_S) -> str:
    """What `docker` with these arguments writes; raises ComposeError."""
    done = subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, timeout=patience,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise ComposeError(f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done.stdout + done.stderr
