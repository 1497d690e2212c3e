"""Which process runs a test, in what order, and which tests `make quick` leaves out."""

import atexit
import gc
import os
import sys
from collections.abc import Generator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# A test that asks for one of these loads models or starts processes.
SLOW_FIXTURES = {"demo_pipeline", "exported_demo", "ray_cluster"}
# Files whose tests share what takes long to start, and run in one process. The tests on Ray
# also count the processes of its actors, whichever cluster they belong to.
TOGETHER = {
    "tests/inference/test_ray_deployment.py": "ray",
    "tests/preannotate/test_ray_runner.py": "ray",
    # Graphs of the demo models.
    "tests/test_cpu_packages.py": "graphs",
    "tests/inference/test_loader.py": "graphs",
    "tests/inference/test_without_torch.py": "graphs",
    "tests/models/test_export.py": "graphs",
    "tests/models/runtime/test_agreement.py": "graphs",
    "tests/models/runtime/test_openvino.py": "graphs",
    "tests/models/runtime/test_releasing.py": "graphs",
}


def group_of(nodeid: str) -> str:
    """Return the group of a test: the tests of a group run in one process."""
    file = nodeid.partition("::")[0]
    return TOGETHER.get(file, file)


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each process one group after another, in the order of the collection."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        # Processes with a thread for each core would wait for one another. They inherit this.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("CPU_THREADS", "1")
        # Those that ask for more threads all the same do not keep a core busy while they wait.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def threads() -> dict[str, str]:
    """What processes are told of threads, for one that inherits nothing else."""
    return {name: value for name, value in os.environ.items() if name.startswith("OMP_")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what loads models, and let slow files begin: quick ones fill the end."""
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = {group_of(item.nodeid) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: group_of(item.nodeid) not in slow)


def pytest_collection_finish() -> None:
    """Spare each search for garbage all that was imported: idle models ask for many."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # what is never freed is complained of


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a test logged fit to be sent to another process: half a surrogate pair is not."""
    report = yield
    report.sections = [(name, encodable(text)) for name, text in report.sections]
    if report.longrepr is not None and encodable(report.longreprtext) != report.longreprtext:
        report.longrepr = encodable(report.longreprtext)
    return report


def encodable(text: str) -> str:
    """Return `text` with an escape in place of what UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "torch" in sys.modules:  # whatever the test before it asked for
        sys.modules["torch"].set_num_threads(1)
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU that PyTorch computes on with CUDA")
