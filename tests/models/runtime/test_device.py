import os
from pathlib import Path

import pytest
import torch

from grounded_labeler.models.runtime.device import limit_threads, pick_device, usable_cores


@pytest.mark.parametrize(("usable", "device"), [(True, "cuda"), (False, "cpu")])
def test_device_follows_what_torch_can_use(
    monkeypatch: pytest.MonkeyPatch, usable: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    assert pick_device() == device


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        pytest.param("200000 100000\n", 2, id="two cores"),
        pytest.param("max 100000\n", 8, id="no limit"),
        pytest.param("50000 100000\n", 1, id="half a core"),
        pytest.param("250000 100000\n", 2, id="two and a half"),
        pytest.param("3200000 100000\n", 8, id="more than there are"),
        pytest.param("25000 50000\n", 1, id="another period"),
        pytest.param("", 8, id="empty"),
        pytest.param("rubbish", 8, id="a word"),
        pytest.param("a b", 8, id="no numbers"),
        pytest.param("1 2 3", 8, id="too many"),
        pytest.param("zwölf 100000", 8, id="not ASCII"),
    ],
)
def test_cores_are_those_of_the_machine_but_no_more_than_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    file = tmp_path / "cpu.max"
    file.write_text(quota, encoding="utf-8")
    assert usable_cores(file) == cores


def test_all_cores_are_usable_where_no_share_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores(tmp_path / "cpu.max") == 2


def test_torch_computes_with_no_more_threads_than_it_is_given() -> None:
    before = torch.get_num_threads()
    try:
        limit_threads(before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
