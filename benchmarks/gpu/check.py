"""The whole check: tests, then measurements; JSON and page written after each event."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.gpu import environment
from benchmarks.gpu.page import page, summary
from benchmarks.gpu.results import Part, Report
from benchmarks.gpu.supervise import Supervisor

SECONDS = 480.0
OUTPUT = environment.ROOT / "benchmarks" / "output"
TESTS = "tests"
_TESTS_SHARE = 0.35  # of the time, at most
_LACKS = "not installed:"
_END_S = 5.0  # to end the last process and to write the page
_FULL = ("grounded_labeler.models.detectors.official", "benchmarks.full_size")
# What in a file says that it has tests with the mark `gpu`.
_MARKS = ("mark.gpu", "tests.gpu.devices")
_DEMO = (
    "grounded_labeler.models.detectors.huggingface_build",
    "grounded_labeler.models.segmenters.sam_build",
)


@dataclass(frozen=True)
class Measurement:
    """A part that the worker measures.

    `weight` is its share of the time that is left beside those of the parts after it.
    """

    title: str
    weight: float
    modules: tuple[str, ...]
    cuda_only: bool = False


# In the order in which they are measured: what matters most comes first.
MEASUREMENTS = {
    "machine": Measurement("The card and the packages", 2, ("benchmarks.gpu.machine",)),
    "answers": Measurement(
        "The answers of the demo models, beside float32 on the CPU", 4,
        ("benchmarks.gpu.answers", *_DEMO),
    ),
    "prompts": Measurement("Prompts of one annotator", 14, ("benchmarks.gpu.prompts", *_FULL)),
    "proposals": Measurement(
        "The answers of the full-size models, beside the reference", 4,
        ("benchmarks.gpu.proposals", *_FULL),
    ),
    "clients": Measurement("Several clients at once", 5, ("benchmarks.gpu.clients", *_FULL)),
    "batches": Measurement("Batches at the detector", 5, ("benchmarks.gpu.batches", *_FULL)),
    "encoders": Measurement(
        "Other ways to compute the encoders", 4, ("benchmarks.gpu.encoders", *_FULL)
    ),
    "graphs": Measurement(
        "The encoders by CUDA graphs", 3, ("benchmarks.gpu.encoders", *_FULL), cuda_only=True
    ),
    "compile": Measurement(
        "The encoders by torch.compile", 8, ("benchmarks.gpu.encoders", *_FULL), cuda_only=True
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Check; return 0 unless something failed, a goal was missed or nothing could be measured."""
    options = _parser().parse_args(arguments)
    models = options.models or ("full" if options.device == "cuda" else "demo")
    end = time.time() + options.seconds - _END_S
    names = options.only or [TESTS, *MEASUREMENTS]
    report = Report(
        {"device": options.device, "models": models, "seconds": options.seconds},
        environment.facts(options.device),
        [Part(name, _title(name)) for name in (TESTS, *MEASUREMENTS) if name in names],
    )
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("gpu-check*"):
        old.unlink()
    write = partial(_write, report, folder, time.monotonic())
    _say_what_is_missing(report)
    runnable = _runnable(report, options.device)
    write()
    supervisor = Supervisor(report, folder, write)
    if TESTS in runnable:
        left = end - time.time()
        share = 1.0 if runnable == [TESTS] else _TESTS_SHARE
        command = partial(_test_command, options.device)
        supervisor.run(TESTS, [TESTS], command, time.time() + share * left)
    measured = [name for name in runnable if name != TESTS]
    supervisor.run("measure", measured, partial(_worker_command, options.device, models), end)
    write()
    return _tell(report, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument(
        "--models", choices=["full", "demo"], help="full size with cuda, else the bundled ones"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="when it ends by itself")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of JSON, page, logs")
    parser.add_argument(
        "--only", action="append", choices=[TESTS, *MEASUREMENTS], help="may be repeated"
    )
    return parser


def _title(name: str) -> str:
    return "Tests" if name == TESTS else MEASUREMENTS[name].title


def _say_what_is_missing(report: Report) -> None:
    """Set the reason of each part that cannot run for want of a package, and say it."""
    for part in report.parts:
        if part.name == TESTS:
            _leave_out_tests(part, report.options["device"])
        elif missing := environment.missing_for(MEASUREMENTS[part.name].modules):
            part.reason = _lacks(missing)
        if part.reason.startswith(_LACKS):
            _say(f"not measured: {part.title} ({part.reason})")
        for what, why in part.left_out.items():
            _say(f"not measured: {what} ({why})")
    for sentence in environment.older_than_wanted(report.environment["packages"]):
        _say(sentence)


def _lacks(missing: Sequence[str]) -> str:
    return f"{_LACKS} {', '.join(missing)}"


def _leave_out_tests(part: Part, device: str) -> None:
    """Say which files of tests cannot run for want of a package; all of them if none can."""
    files = test_files(device)
    missing = {file: environment.missing_for(_needs(file)) for file in files}
    for file, names in missing.items():
        if names:
            part.left_out[file.name] = _lacks(names)
    if all(missing.values()):
        part.reason = _lacks(sorted(set().union(*missing.values())))
        part.left_out.clear()


def _runnable(report: Report, device: str) -> list[str]:
    """Return the names of the parts to run; sets the reason of those that are not."""
    names = []
    for part in report.parts:
        if part.reason.startswith(_LACKS):
            continue
        if device == "cpu" and part.name in MEASUREMENTS and MEASUREMENTS[part.name].cuda_only:
            part.reason = "needs a GPU that PyTorch computes on with CUDA"
            continue
        names.append(part.name)
    return names


def test_files(device: str) -> list[Path]:
    """Return the files with tests for a GPU, or those of them that run on a CPU as well."""
    tests = environment.ROOT / "tests"
    if device == "cpu":
        return sorted((tests / "gpu").glob("test_*.py"))
    files = sorted(tests.rglob("test_*.py"))
    return [file for file in files if any(mark in file.read_text("utf-8") for mark in _MARKS)]


def _needs(file: Path) -> list[str]:
    """Return the modules that a file of tests needs, and those that run it."""
    module = ".".join(file.relative_to(environment.ROOT).with_suffix("").parts)
    return [module, "tests.helpers.parallel", "benchmarks.gpu.pytest_events", *_DEMO]


def _test_command(device: str, _parts: Sequence[str], events: Path, until: float) -> list[str]:
    """Run the tests without `tests/conftest.py`, which imports the whole service."""
    files = [file for file in test_files(device) if not environment.missing_for(_needs(file))]
    return [
        sys.executable, "-m", "pytest", *map(str, files),
        "-m", "gpu" if device == "cuda" else "not gpu",
        "--noconftest", "-p", "tests.helpers.parallel", "-p", "benchmarks.gpu.pytest_events",
        "--gpu-events", str(events), "--gpu-until", repr(until - _END_S),
        "-o", "addopts=", "-q", "-p", "no:cacheprovider",
    ]  # fmt: skip


def _worker_command(
    device: str, models: str, parts: Sequence[str], events: Path, until: float
) -> list[str]:
    return [
        sys.executable, "-m", "benchmarks.gpu.worker", "--device", device, "--models", models,
        "--events", str(events), "--until", repr(until), *parts,
    ]  # fmt: skip


def _write(report: Report, folder: Path, start: float) -> None:
    report.seconds = time.monotonic() - start
    report.write(folder / "gpu-check.json")
    (folder / "gpu-check.html").write_text(page(report), encoding="utf-8")


def _tell(report: Report, folder: Path) -> int:
    """Print what the page says above its tables; return the exit code."""
    for part in report.parts:
        why = f": {part.reason}" if part.reason else ""
        _say(f"{part.state:13}{part.title}, {part.seconds:.0f} s{why}")
        for what, reason in part.left_out.items():
            _say(f"{'':13}not measured: {what}: {reason}")
    failures = report.failures()
    for sentence in failures:
        _say(f"FAIL {sentence}")
    _say(summary(report))
    _say(f"Figures: {folder / 'gpu-check.json'}; page: {folder / 'gpu-check.html'}")
    has_measured = any(part.state in ("measured", "unfinished") for part in report.parts)
    return 1 if failures or not has_measured else 0


def _say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()
