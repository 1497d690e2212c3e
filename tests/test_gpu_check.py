"""The check of a GPU ends in time, keeps what it has and says what it has not; on the CPU here."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import environment
from benchmarks.gpu.check import MEASUREMENTS, main
from benchmarks.gpu.environment import missing_for, older_than_wanted
from benchmarks.gpu.page import page, summary
from benchmarks.gpu.results import FAIL, EventReader, EventWriter, Part, Report, judged
from benchmarks.gpu.supervise import Supervisor

ROOT = Path(__file__).parents[1]
OPTIONS = {"device": "cpu", "models": "demo", "seconds": 60.0}

# A process that does what its parts are called.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from benchmarks.gpu.results import EventWriter
writer = EventWriter(Path(sys.argv[1]))
for part in sys.argv[3:]:
    writer.begin(part, float(sys.argv[2]))
    writer.record(part, "numbers", {"what": part, "value": 1.5})
    if part == "hangs":
        time.sleep(1000)
    if part == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if part == "raises":
        raise RuntimeError("the kernel was not found")
    if part == "lacks":
        import no_such_package
    if part == "cannot":
        writer.impossible(part, "there is no card")
        continue
    writer.left_out(part, "the rest", "no time")
    writer.end(part)
"""


def run_parts(folder: Path, *names: str, seconds: float = 60.0) -> Report:
    """What becomes of parts that do what they are called."""
    report = Report(OPTIONS, environment.facts("cpu"), [Part(name, name) for name in names])
    until = time.time() + seconds
    # The deadline of the parts leaves the worker no time beyond that of the check.
    Supervisor(report, folder, lambda: report.write(folder / "check.json")).run(
        "test",
        names,
        lambda parts, events, _: [sys.executable, "-c", WORKER, str(events), str(until), *parts],
        until,
    )
    return report


def states(report: Report) -> dict[str, str]:
    return {part.name: part.state for part in report.parts}


def test_parts_are_measured_and_written(tmp_path: Path) -> None:
    report = run_parts(tmp_path, "one", "two")
    assert states(report) == {"one": "measured", "two": "measured"}
    written = json.loads((tmp_path / "check.json").read_text())
    assert [part["tables"] for part in written["parts"]] == [
        {"numbers": [{"what": name, "value": 1.5}]} for name in ("one", "two")
    ]
    assert written["parts"][0]["left_out"] == {"the rest": "no time"}
    assert written["environment"]["python"] == sys.version.partition(" ")[0]


@pytest.mark.parametrize(
    ("bad", "state", "reason"),
    [
        ("raises", "failed", "RuntimeError: the kernel was not found (exit code 1)"),
        ("crashes", "failed", "(signal 11)"),
        ("lacks", "not measured", "no_such_package is not installed"),
        ("cannot", "not measured", "there is no card"),
    ],
)
def test_a_part_that_fails_loses_neither_its_own_figures_nor_those_of_others(
    tmp_path: Path, bad: str, state: str, reason: str
) -> None:
    report = run_parts(tmp_path, "before", bad, "after")
    assert states(report) == {"before": "measured", bad: state, "after": "measured"}
    assert reason in report.part(bad).reason
    assert list(report.part(bad).records()) == [{"what": bad, "value": 1.5}]
    assert bool(report.failures()) == (state == "failed")


def test_a_part_that_hangs_is_cut_off_when_the_time_is_up(tmp_path: Path) -> None:
    report = run_parts(tmp_path, "before", "hangs", "after", seconds=13.0)
    assert states(report) == {"before": "measured", "hangs": "unfinished", "after": "not measured"}
    assert report.part("hangs").reason == "its time was up"
    assert report.part("after").reason == "there was no time for it"
    assert list(report.part("hangs").records())


def test_a_process_that_says_nothing_is_not_started_for_ever(tmp_path: Path) -> None:
    report = Report(OPTIONS, {}, [Part(name, name) for name in ("one", "two")])
    started: list[Sequence[str]] = []

    def command(parts: Sequence[str], _events: Path, _until: float) -> list[str]:
        started.append(list(parts))
        return [sys.executable, "-c", "raise SystemExit('no such option')"]

    Supervisor(report, tmp_path, lambda: None).run(
        "test", ["one", "two"], command, time.time() + 60
    )
    assert started == [["one", "two"], ["two"]]
    assert [part.reason for part in report.parts] == ["no such option (exit code 1)"] * 2


def test_events_are_read_once_and_only_when_they_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "events"
    reader = EventReader(file)
    assert reader.read() == []
    EventWriter(file).end("one")
    with file.open("a") as opened:
        opened.write('{"end": ')
        opened.flush()
        assert reader.read() == [{"end": "one"}]
        opened.write('"two"}\n')
    assert reader.read() == [{"end": "two"}]
    assert reader.read() == []


def test_the_page_has_all_that_is_known_and_needs_nothing_else() -> None:
    record = judged({"image": "640x480", "ours, ms": 41.5}, "under 30 ms", reached=False)
    parts = [
        Part("prompts", "Prompts", "measured", "", 3.0, {"Milliseconds": [record]}),
        Part("compile", "torch.compile", "failed", "<Error> of a compiler"),
    ]
    packages = {"torch": {"wanted": ">=2.10", "found": "2.9.1"}}
    card = {"name": "NVIDIA H100", "driver_version": "580.1"}
    report = Report(OPTIONS, {"python": "3.12.3", "card": card, "packages": packages}, parts)
    text = page(report)
    for said in (
        "NVIDIA H100", "580.1", "3.12.3", "41.5", "under 30 ms", FAIL, "&lt;Error&gt;",
        "torch is 2.9.1, older than the 2.10 that is wanted", "The models are the small bundled",
    ):  # fmt: skip
        assert said in text
    assert "http" not in text
    assert "Of 1 goals 0 were reached." in summary(report)
    assert report.failures() == [
        "torch.compile: <Error> of a compiler", "Prompts: 640x480: under 30 ms",
    ]  # fmt: skip


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_nothing_that_a_part_needs_is_missing_here(name: str) -> None:
    assert missing_for(MEASUREMENTS[name].modules) == []


def test_what_is_missing_is_found_without_importing_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = ("groundingdino", "yapf", "flask")
    monkeypatch.setattr(
        environment, "find_spec", lambda name: None if name in lacking else find_spec(name)
    )
    assert missing_for(MEASUREMENTS["machine"].modules) == []
    assert missing_for(MEASUREMENTS["prompts"].modules) == ["flask", "groundingdino", "yapf"]
    assert missing_for(MEASUREMENTS["encoders"].modules) == ["groundingdino", "yapf"]


def test_older_packages_are_named() -> None:
    found: dict[str, dict[str, str | None]] = {
        "torch": {"wanted": ">=2.10,!=2.13.0", "found": "2.9.1+cu130"},
        "transformers": {"wanted": ">=5.21", "found": "5.100"},
        "rich": {"wanted": "", "found": "1"},
        "kornia": {"wanted": ">=0.9", "found": None},
    }
    assert older_than_wanted(found) == ["torch is 2.9.1+cu130, older than the 2.10 that is wanted"]


def run_check(folder: Path, *arguments: str, python: str = sys.executable, **environ: str) -> Any:
    """Its exit code and output, and its JSON."""
    done = subprocess.run(
        [python, "-m", "benchmarks.gpu", "--output", str(folder), *arguments],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, json.loads((folder / "gpu-check.json").read_text())


def test_a_python_with_no_packages_says_what_it_lacks(tmp_path: Path) -> None:
    """Whatever is installed is left out by -S; nothing heavy is imported before that is known."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "benchmarks.gpu", "--output", str(tmp_path)],
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "not measured: Prompts of one annotator (not installed: " in done.stdout
    written = json.loads((tmp_path / "gpu-check.json").read_text())
    assert {part["state"] for part in written["parts"]} == {"not measured"}
    assert all("torch" in part["reason"] for part in written["parts"])
    assert "not installed" in (tmp_path / "gpu-check.html").read_text()
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_without_a_gpu_nothing_is_called_measured(tmp_path: Path) -> None:
    done, written = run_check(
        tmp_path, "--only", "tests", "--only", "machine", CUDA_VISIBLE_DEVICES=""
    )
    assert done.returncode == 1
    by_name = {part["name"]: part for part in written["parts"]}
    assert by_name["machine"]["state"] == by_name["tests"]["state"] == "not measured"
    assert "finds no GPU" in by_name["machine"]["reason"]
    assert "needs a GPU" in by_name["tests"]["reason"]


@pytest.mark.slow
def test_every_measurement_runs_on_a_cpu(tmp_path: Path) -> None:
    arguments = [word for name in MEASUREMENTS for word in ("--only", name)]
    assert main(["--device", "cpu", "--seconds", "900", "--output", str(tmp_path), *arguments]) == 0
    written = json.loads((tmp_path / "gpu-check.json").read_text())
    for part in written["parts"]:
        if MEASUREMENTS[part["name"]].cuda_only:
            assert part["reason"] == "needs a GPU that PyTorch computes on with CUDA"
        else:
            assert (part["state"], part["reason"]) == ("measured", "")
    tables = {part["name"]: part["tables"] for part in written["parts"]}
    [answers] = tables["answers"].values()
    assert [row["verdict"] for row in answers if "verdict" in row] == ["pass"]
    [clients] = tables["clients"].values()
    assert {row["clients"] for row in clients} == {1, 4, 16}
    assert not list(tmp_path.glob("*.events"))


@pytest.mark.slow
def test_the_benchmark_hands_a_gpu_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.__main__ import main as benchmark
    from benchmarks.gpu import check

    given: list[Sequence[str]] = []

    def checked(arguments: Sequence[str]) -> int:
        given.append(arguments)
        return 3

    monkeypatch.setattr(check, "main", checked)
    assert benchmark(["--device", "cuda"]) == 3
    assert given == [[f"--only={name}" for name in MEASUREMENTS]]


def is_running(pid: str) -> bool:
    """Whether the process is there and has not ended; one that nobody waits for stays a while."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_check_that_is_ended_ends_what_it_started(tmp_path: Path) -> None:
    """By SIGTERM, as `timeout` sends it; what was told before is written."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--only", "machine",
         "--output", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as check:  # fmt: skip
        children = Path(f"/proc/{check.pid}/task/{check.pid}/children")
        while check.poll() is None and not (started := children.read_text().split()):
            time.sleep(0.05)
        check.terminate()
        assert check.stderr is not None
        assert check.stderr.read() == "Stopped before all was measured.\n"
    assert check.returncode == 130
    while any(map(is_running, started)):  # it was told to end; the system may take its time
        time.sleep(0.05)
    assert (tmp_path / "gpu-check.json").is_file()
