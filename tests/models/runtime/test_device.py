import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from prometheus_client import REGISTRY

from grounded_labeler import metrics
from grounded_labeler.models.runtime import device as compute
from grounded_labeler.models.runtime.device import (
    cpu_flags,
    limit_threads,
    pick_device,
    usable_cores,
)


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose devices are the files in this folder, without a driver's library."""
    monkeypatch.setattr(compute, "_DEVICES", tmp_path)
    monkeypatch.setattr(compute, "_GPU_LIBRARY", "libnothing.so.1")
    return tmp_path


@pytest.mark.parametrize(("usable", "device"), [(True, "cuda"), (False, "cpu")])
@pytest.mark.parametrize("name", ["nvidiactl", "nvidia0", "nvidia12", "dxg", "kfd"])
def test_with_a_driver_s_device_torch_decides(
    devices: Path, monkeypatch: pytest.MonkeyPatch, name: str, usable: bool, device: str
) -> None:
    (devices / name).touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    assert pick_device() == device


def test_with_a_driver_s_library_alone_torch_decides(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == "cpu"
    monkeypatch.setattr(compute, "_GPU_LIBRARY", "libc.so.6")
    assert pick_device() == "cuda"


def test_without_torch_it_is_the_cpu(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (devices / "nvidiactl").touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(compute, "find_spec", lambda _: None)
    assert pick_device() == "cpu"


WITHOUT_GPU = """
import sys
from pathlib import Path
from grounded_labeler.models.runtime import device, out_of_memory
from grounded_labeler.errors import OutOfMemory

device._DEVICES, device._GPU_LIBRARY = Path(sys.argv[1]), "libnothing.so.1"
print(device.pick_device())
device.limit_threads(1)
device.trim_memory()
try:
    with out_of_memory.translate_memory_errors():
        raise MemoryError
except OutOfMemory as error:
    print(error)
print("torch" in sys.modules)
"""


def test_without_a_gpu_torch_is_not_imported_to_say_so(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_GPU, tmp_path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == ["cpu", "MemoryError", "False"]


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


def test_torch_and_opencv_compute_with_no_more_threads_than_they_are_given() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        limit_threads(3)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (3, 3)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_what_the_cpu_can_compute_with(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    assert cpu_flags(file) == ""
    file.write_text("model name\t: A\nflags\t\t: fpu avx2 \n\nflags\t\t: other\n")
    assert cpu_flags(file) == "fpu avx2"
    file.write_text("Features\t: fp asimd\n")
    assert cpu_flags(file) == "fp asimd"
    file.write_text("nothing of it\n")
    assert cpu_flags(file) == ""


def test_the_metrics_say_how_much_gpu_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "grounded_labeler_device_memory_bytes"
    cuda = SimpleNamespace(memory_allocated=lambda: 1000, memory_reserved=lambda: 4096)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # there is no GPU
    try:
        compute.note_gpu_memory()
        figures = {
            state: REGISTRY.get_sample_value(name, {"state": state})
            for state in ("allocated", "reserved")
        }
    finally:
        metrics.DEVICE_MEMORY.clear()
    assert figures == {"allocated": 1000, "reserved": 4096}


def test_resident_bytes_are_those_of_this_process(tmp_path: Path) -> None:
    block = bytearray(b"x") * 200_000_000
    with_block = compute.resident_bytes()
    del block
    assert with_block > 200_000_000
    assert compute.resident_bytes() < with_block - 100_000_000
    assert compute.resident_bytes(tmp_path / "none") == 0
