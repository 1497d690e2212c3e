"""What is wrong with folders, precision, GPU and certificate is said before the port opens."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from grounded_labeler.demo.process import free_port
from grounded_labeler.errors import SettingsError
from grounded_labeler.inference.loader import check_compute
from grounded_labeler.models.runtime.probe import Machine, machine
from grounded_labeler.server.startup import check_start
from grounded_labeler.settings import Settings
from tests.helpers.certificates import make_certificate

CPU = Machine("cpu", has_torch=True, has_bf16=False)
BARE_CPU = Machine("cpu", has_torch=False, has_bf16=False)
NEW_CPU = Machine("cpu", has_torch=True, has_bf16=True)
GPU = Machine("cuda", has_torch=True, has_bf16=False)


def started(folder: Path, **environ: str) -> None:
    demo = {"DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(folder)}
    check_start(Settings.from_env(demo | environ))


def test_nothing_is_wrong(tmp_path: Path) -> None:
    started(tmp_path)
    started(tmp_path / "made" / "later", LOCAL_FILES_ROOT=str(tmp_path))
    assert list(tmp_path.iterdir()) == []  # and nothing is made


@pytest.mark.parametrize(
    ("variable", "path", "sentence"),
    [
        ("MODEL_DIR", "file", "MODEL_DIR={} is no folder: set it to the folder of the weights."),
        ("LOCAL_FILES_ROOT", "file", "LOCAL_FILES_ROOT={} is no folder: set it to a folder of ima"),
        ("LOCAL_FILES_ROOT", "none", "LOCAL_FILES_ROOT={} does not exist: set it to a folder of i"),
        (
            "DATA_DIR",
            "file",
            "The prompts cannot be stored in DATA_DIR={} (Not a directory): set D",
        ),
        (
            "DATA_DIR",
            "x" * 300,
            "The prompts cannot be stored in DATA_DIR={} (File name too long)",
        ),
        ("DATA_DIR", "file/in", "The prompts cannot be stored in DATA_DIR={} (Not a directory): s"),
        ("DATA_DIR", "/proc", "The prompts cannot be stored in DATA_DIR={} (No such file or direc"),
        ("MODEL_DIR", "/proc", "The prompts cannot be stored in MODEL_DIR={} ("),
    ],
)
def test_folders(tmp_path: Path, variable: str, path: str, sentence: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError) as error:
        started(tmp_path, **{variable: str(tmp_path / path)})
    assert str(error.value).startswith(sentence.format(tmp_path / path))


@pytest.mark.parametrize(
    ("bind", "said"),
    [
        ("203.0.113.9", "BIND=203.0.113.9 cannot be listened on (Cannot assign requested address)"),
        ("labeler.invalid:80", "BIND=labeler.invalid:80 cannot be listened on ("),
    ],
)
def test_addresses_of_other_machines(tmp_path: Path, bind: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        started(tmp_path, BIND=bind)
    assert str(error.value).startswith(said)


def test_addresses_of_this_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        # Its port is gunicorn's concern, which tries again.
        started(tmp_path, BIND=f"127.0.0.1:{other.getsockname()[1]}")
    started(tmp_path, BIND="localhost")


def test_where_prompts_are_in_a_database_no_folder_is_written_to(tmp_path: Path) -> None:
    started(tmp_path, DATA_DIR="/proc", PROMPT_STORE="postgresql://anna@127.0.0.1:9/db")


def test_what_a_user_without_rights_may_not_read_or_write() -> None:
    """In a process of the user nobody where the tests are root's: root may do all."""
    user = os.getuid() or 65534
    code = f"""
import os, sys
from grounded_labeler.errors import SettingsError
from grounded_labeler.server import startup
from grounded_labeler.settings import Settings
os.getuid() or os.setuid({user})
for variable in ("MODEL_DIR", "LOCAL_FILES_ROOT", "DATA_DIR"):
    for folder in sys.argv[1:]:
        try:
            startup.check_folders(Settings.from_env({{"DATA_DIR": "/dev/shm", variable: folder}}))
        except SettingsError as error:
            print(error)
"""
    with TemporaryDirectory() as folder:  # those of pytest are for one user alone
        Path(folder).chmod(0o755)
        closed, open_ = Path(folder, "closed"), Path(folder, "open")
        closed.mkdir(mode=0)
        open_.mkdir(mode=0o555)
        ran = subprocess.run(
            [sys.executable, "-c", code, closed, open_], capture_output=True, text=True, check=True
        )
    assert ran.stdout.splitlines() == [
        *(
            f"{variable}={closed} cannot be read (Permission denied): let user {user} read it and"
            " what is in it."
            for variable in ("MODEL_DIR", "LOCAL_FILES_ROOT")
        ),
        *(
            f"The prompts cannot be stored in DATA_DIR={folder} (Permission denied): set DATA_DIR"
            f" to a folder that user {user} may write to, or PROMPT_STORE."
            for folder in (closed, open_)
        ),
    ]


# GPU and precision


@pytest.mark.parametrize(
    ("environ", "here", "words"),
    [
        (
            {"REQUIRE_GPU": "true"},
            CPU,
            ["REQUIRE_GPU=true, but PyTorch finds no GPU", "--gpus all"],
        ),
        ({"REQUIRE_GPU": "true"}, BARE_CPU, ["REQUIRE_GPU=true, but PyTorch is not installed"]),
        ({"REQUIRE_GPU": "true"}, GPU, None),
        ({"PRECISION": "fp16"}, CPU, ["PRECISION=fp16 needs a GPU"]),
        ({"PRECISION": "fp16"}, GPU, None),
        ({"PRECISION": "bf16"}, GPU, None),
        ({"PRECISION": "mixed"}, GPU, ["PRECISION=mixed is for CPUs"]),
        ({"PRECISION": "mixed"}, CPU, ["PRECISION=mixed: this CPU has no bf16"]),
        ({"PRECISION": "mixed"}, NEW_CPU, None),
        ({"PRECISION": "bf16"}, CPU, None),  # PyTorch computes
        ({"PRECISION": "bf16"}, BARE_CPU, ["PRECISION=bf16: this CPU has no bf16"]),
        ({"PRECISION": "bf16"}, NEW_CPU, None),
    ],
)
def test_gpu_and_precision(environ: dict[str, str], here: Machine, words: list[str] | None) -> None:
    settings = Settings.from_env({"MODEL_DIR": "nowhere"} | environ)
    if words is None:
        check_compute(settings, lambda: here)
        return
    with pytest.raises(SettingsError) as error:
        check_compute(settings, lambda: here)
    assert all(word in str(error.value) for word in words), error.value


def test_graphs_in_bf16_need_a_cpu_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    settings = Settings.from_env({"MODEL_DIR": str(tmp_path), "PRECISION": "bf16"})
    with pytest.raises(SettingsError, match="PRECISION=bf16: this CPU has no bf16"):
        check_compute(settings, lambda: CPU)


@pytest.mark.parametrize("environ", [{}, {"PRECISION": "fp32"}, {"RAY_ADDRESS": "ray://h:10001"}])
def test_nobody_looks_where_nothing_is_wanted(environ: dict[str, str]) -> None:
    def look() -> Machine:
        raise AssertionError

    check_compute(Settings.from_env(environ), look)


def test_a_machine_that_cannot_be_looked_at_is_said() -> None:
    def look() -> Machine:
        raise RuntimeError("ImportError: no driver")

    with pytest.raises(SettingsError, match="cannot be found out: ImportError: no driver"):
        check_compute(Settings.from_env({"REQUIRE_GPU": "true"}), look)


@pytest.mark.slow
def test_the_machine_is_looked_at_in_another_process() -> None:
    import torch

    found = machine()
    assert found.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found.has_torch


# Certificates


Make = Callable[[Path], tuple[Path, Path]]
PAIRS: dict[str, tuple[Make, str | None]] = {
    "a pair": (lambda folder: make_certificate(folder, "a"), None),
    "no key": (
        lambda folder: (make_certificate(folder, "a")[0], folder / "none"),
        "The file TLS_KEY={1} cannot be read (No such file or directory): name a file (PEM)",
    ),
    "no certificate": (
        lambda folder: (folder, make_certificate(folder, "a")[1]),
        "The file TLS_CERT={0} cannot be read (Is a directory)",
    ),
    "another's key": (
        lambda folder: (make_certificate(folder, "a")[0], make_certificate(folder, "b")[1]),
        "TLS_CERT={0} and TLS_KEY={1} cannot be used (key values mismatch): they must be",
    ),
    "the two exchanged": (
        lambda folder: (make_certificate(folder, "a")[1], folder / "a.crt"),
        "TLS_CERT={0} and TLS_KEY={1} cannot be used: they must be a certificate, before",
    ),
    "a key with a password": (
        lambda folder: make_certificate(folder, "a", "sekrit"),
        "TLS_CERT={0} and TLS_KEY={1} cannot be used: they must be a certificate, before",
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_certificates(tmp_path: Path, pair: str) -> None:
    make, sentence = PAIRS[pair]
    cert, key = make(tmp_path)
    environ = {"TLS_CERT": str(cert), "TLS_KEY": str(key)}
    if sentence is None:
        started(tmp_path, **environ)
        return
    with pytest.raises(SettingsError) as error:
        started(tmp_path, **environ)
    assert str(error.value).startswith(sentence.format(cert, key)), error.value


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_port_stays_closed(tmp_path: Path, log_format: str) -> None:
    port = free_port()
    environ = {
        "DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(tmp_path), "PORT": str(port),
        "LOCAL_FILES_ROOT": str(tmp_path / "none"), "LOG_FORMAT": log_format,
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "grounded_labeler", "serve"],
        env=os.environ | environ, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    if log_format == "json":
        fields = json.loads(line)
        assert (fields["level"], fields["logger"]) == ("CRITICAL", "grounded_labeler.server")
        line = fields["message"]
    assert line.startswith("LOCAL_FILES_ROOT=")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
