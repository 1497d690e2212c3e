"""What the service of a checkout costs with the models of full size: to start, and in memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.asking import SETTINGS, Request
from benchmarks.full_size import OUTPUT, Folders
from benchmarks.machine import peak_resident_bytes, resident_bytes
from benchmarks.sides import environment, last_lines
from grounded_labeler.demo.process import HERE, answers, free_port, running
from grounded_labeler.settings import variable_names
from grounded_labeler.weights.checksums import sha256_of

_COMMAND = Path(__file__).with_name("side_command.py")
_ANSWER_S = 3600.0
# A minute without a request, and then some, after which the service gives memory back.
_REST_S = 75.0


@dataclass(frozen=True)
class Held:
    """What a service took: `ready_s` seconds to start; bytes `at_rest` and at `most`."""

    ready_s: float
    at_rest: int
    most: int


class SideFiles:
    """The weights of full size as a MODEL_DIR of one side, which makes its own graphs there."""

    def __init__(self, name: str, checkout: Path, folders: Folders, root: Path = OUTPUT) -> None:
        self.name, self._checkout = name, checkout
        self._folder = root / f"side-{name}"
        self._log = root / f"side-{name}-command.log"
        self._sums: dict[str, tuple[int, str]] = {}
        for folder in (folders.detector, folders.tokenizer, folders.segmenter):
            for path in (one for one in folder.iterdir() if not one.name.startswith(".")):
                self._sums[path.name] = (path.stat().st_size, sha256_of(path))
                self._link(path, self._folder / "models" / folder.name / path.name)

    def environ(self, **settings: str) -> dict[str, str]:
        """The environment of the side's commands; no setting of the caller's reaches them."""
        ours = {name for names in variable_names().values() for name in names}
        inherited = {k: v for k, v in environment(self._checkout).items() if k not in ours}
        return {
            **inherited,
            **SETTINGS,
            "SUMS": json.dumps(self._sums),
            "MODEL_DIR": str(self._folder / "models"),
            "DATA_DIR": str(self._folder),
            "VERIFY": "off",
            **settings,
        }

    def command(self, what: str, *given: str) -> list[str]:
        return [sys.executable, "-P", str(_COMMAND), what, *given]

    def run(self, what: str, *given: str, **settings: str) -> str:
        """What a command writes to standard output; raises RuntimeError with the end of its log."""
        with self._log.open("wb") as log:
            done = subprocess.run(
                self.command(what, *given), cwd=self._checkout, env=self.environ(**settings),
                stdout=subprocess.PIPE, stderr=log, text=True, check=False,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{self.name}, {what}: {done.stdout} {last_lines(self._log)}")
        return done.stdout

    def make_graphs(self) -> None:
        """Make the graphs, unless they are there: two minutes."""
        self.run("weights")

    @contextmanager
    def served(self) -> Iterator[tuple[str, float, int]]:
        """The service's address, how many seconds it took to be ready, and the process to watch."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = self.command("serve", f"127.0.0.1:{port}")
        log, started = self._folder / "service.log", time.perf_counter()
        before = set(_children(os.getpid()))
        with running(command, self.environ(), log, lambda: answers(f"{url}/ready")):
            seconds = time.perf_counter() - started
            [master] = set(_children(os.getpid())) - before
            yield url, seconds, _largest(master)

    @staticmethod
    def _link(source: Path, target: Path) -> None:
        if target.is_file() and target.stat().st_ino == source.stat().st_ino:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(source, target)


@contextmanager
def held(
    files: SideFiles,
    requests: Sequence[Request],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Callable[[], Held]]:
    """A service that has answered `requests`, all at once; yields what waits and measures it.

    Others may compute before that is called: the service is then at rest already.
    """
    with files.served():
        pass  # files are read from the disk once; the next start finds them in memory
    with files.served() as (url, ready_s, pid):
        with ThreadPoolExecutor(len(requests)) as clients:
            list(clients.map(lambda request: _post(url, request), requests))
        ended = time.monotonic()

        def measure() -> Held:
            sleep(max(0.0, ended + _REST_S - time.monotonic()))
            return Held(ready_s, _bytes(resident_bytes(pid)), _bytes(peak_resident_bytes(pid)))

        yield measure


def _post(url: str, request: Request) -> None:
    response = HERE.post(f"{url}/predict", json=request, timeout=_ANSWER_S)
    response.raise_for_status()
    results: list[Mapping[str, object]] = response.json()["results"]
    if not all(result.get("result") for result in results):
        raise RuntimeError(f"/predict found nothing: {response.text[:500]}")


def _bytes(value: int | None) -> int:
    if value is None:
        raise RuntimeError("Only Linux tells what a process holds.")
    return value


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()]


def _largest(master: int) -> int:
    """The process that holds the models: the master's own, or one of those it started."""
    return max([master, *_children(master)], key=lambda pid: resident_bytes(pid) or 0)
