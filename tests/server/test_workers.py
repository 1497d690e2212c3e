"""Figures of several worker processes add up, and outlive them."""

import os
import re
import signal
import tempfile
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from grounded_labeler.__about__ import __version__
from grounded_labeler.demo.process import HERE, free_port, run_service
from tests.helpers.asking import TUTORIAL
from tests.helpers.serving import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

REQUESTS = 40


def count_of_setups(url: str) -> float:
    text = HERE.get(f"{url}/metrics", timeout=PATIENCE_S).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "grounded_labeler_requests_total" and sample.labels["route"] == "/setup"
    )


def workers_of(log: Path) -> set[int]:
    lines = log.read_text().splitlines()
    return {int(line.rpartition(" ")[2]) for line in lines if "Booting worker with pid" in line}


def test_figures_of_all_workers_are_told_by_any(tmp_path: Path) -> None:
    log = tmp_path / "log"
    folders = set(Path(tempfile.gettempdir()).glob("grounded-labeler-metrics-*"))
    settings = {"WORKERS": "2", "LABEL_STUDIO_URL": "http://127.0.0.1:9"}
    with run_service(free_port(), log, **settings) as url:
        for _ in range(REQUESTS):
            assert HERE.post(f"{url}/setup", json={"project": "1", "schema": TUTORIAL}).ok
        # Whichever worker answers, and however often it is asked.
        assert [count_of_setups(url) for _ in range(10)] == [REQUESTS] * 10
        told = HERE.get(f"{url}/metrics").text
        [build] = re.findall(r"^grounded_labeler_build_info{(.*)} 1.0$", told, re.M)
        assert f'version="{__version__}"' in build
        assert 'models="demo+demo"' in build
        assert "grounded_labeler_resident_memory_bytes" in told
        first = workers_of(log)
        os.kill(min(first), signal.SIGKILL)
        wait_until(lambda: len(workers_of(log)) == 3)
        assert count_of_setups(url) == REQUESTS
    assert set(Path(tempfile.gettempdir()).glob("grounded-labeler-metrics-*")) == folders
