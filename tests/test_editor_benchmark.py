"""Objects, records and memory of the editor's benchmark; no browser, never a second."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from benchmarks import browser_memory, editor
from benchmarks.blobs import CONFIGS, Form, draw_blobs, predicted
from benchmarks.editor import Case, Measured, record
from benchmarks.editor_page import Opened, Submitted
from e2e.truth import pixels

pytestmark = pytest.mark.slow

SIZE_WH = (400, 300)
OPENED = Opened(1.0, 2.0, 0.5, 0.25, 1.5, 0.125, 3000)


@pytest.mark.parametrize("size_wh", [SIZE_WH, (300, 700)])
@pytest.mark.parametrize("count", [1, 5, 20])
def test_blobs_lie_apart_and_are_always_the_same(count: int, size_wh: tuple[int, int]) -> None:
    blobs = draw_blobs(count, size_wh)
    assert len(blobs) == count
    masks = [blob.mask.full() for blob in blobs]
    assert np.sum(masks, axis=0).max() == 1
    for blob, mask in zip(blobs, masks, strict=True):
        x, y = blob.inside
        assert mask.shape == size_wh[::-1]
        assert mask[y, x]
    for mask, again in zip(masks, draw_blobs(count, size_wh), strict=True):
        np.testing.assert_array_equal(mask, again.mask.full())


@pytest.mark.parametrize("form", get_args(Form))
def test_each_form_is_the_same_object(form: Form) -> None:
    blobs = draw_blobs(3, SIZE_WH)
    regions = predicted(blobs, form)
    assert [region["type"] for region in regions] == [f"{form}labels"] * 3
    for blob, region in zip(blobs, regions, strict=True):
        mask, full = pixels(region), blob.mask.full()
        assert (mask & full).sum() / (mask | full).sum() > (0.9 if form == "polygon" else 0.999)


def test_a_record_has_medians_and_says_where_the_editor_did_not_answer() -> None:
    measured = Measured(
        1000, 2000, 2500,
        [OPENED, replace(OPENED, drawn_s=3.0), replace(OPENED, drawn_s=9.0)],
        [Submitted(4.0, 1.0, 5000), None, Submitted(6.0, 1.0, 5000)],
        [OPENED, None, OPENED],
        [2**30, 3 * 2**30, 2**31],
    )  # fmt: skip
    assert measured.is_given_up
    found = record(Case((1920, 1080), 5, "brush"), measured)
    assert found["case"] == "1920x1080, 5 masks, brush"
    assert (found["drawn, s"], found["download, kB"], found["memory, GiB"]) == (3.0, 3.0, 2.0)
    assert (found["Submit sent, s"], found["again, s"]) == ("no", "no")
    assert not replace(measured, submitted=[], reopened=[]).is_given_up


def test_what_is_missing_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert editor.main(["--rounds", "1"]) == 1
    assert "Chromium is missing" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_that_of_the_processes_below() -> None:
    marker = "held by the test"
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", marker]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # it runs
        held = browser_memory.held_by(marker, os.getpid())
        assert list(held) == [process.pid]
        assert held[process.pid] > 2**20
        process.communicate()
    assert browser_memory.held_by(marker, os.getpid()) == {}
    assert browser_memory.own_bytes(process.pid) == 0


def test_every_form_has_a_config() -> None:
    assert set(CONFIGS) == set(get_args(Form))
