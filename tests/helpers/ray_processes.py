"""A Ray cluster of this process for tests, and the processes of its actors."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

CORES = 4  # Ray's count: what actors may ask for, whatever the machine has


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a cluster that ends with the tests."""
    import ray  # here, so that tests of other rooms need not wait for it

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        # Actors import the tests' own modules, too.
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        ray.init(address="local", num_cpus=CORES, include_dashboard=False, log_to_driver=False)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def actors(name: str) -> set[int]:
    """The processes of the actors that have `name` in theirs."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if command.startswith("ray::") and name in command:
            found.add(int(folder.name))
    return found


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
