"""What requests cost, ours beside today's example: `make bench`."""

if __name__ == "__main__":  # before the imports below, which take seconds
    from grounded_labeler.interrupts import run_command

    run_command("benchmarks.__main__", "Stopped before all was measured.")

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import (
    answers,
    clicks,
    clients,
    cluster,
    detectors,
    growth,
    machine,
    memory,
    report,
    run_lengths,
    segmenters,
    stages,
    tiles,
)
from benchmarks.asking import Album
from benchmarks.bench import Bench
from benchmarks.full_size import OUTPUT, make_models
from benchmarks.gpu import check as gpu_check
from benchmarks.images import serving
from benchmarks.panels import panels
from benchmarks.report import Record, Row
from grounded_labeler.interrupts import finishing
from grounded_labeler.models.runtime.device import Compute, usable_cores

# In the order of the table, then of what is printed after it.
_TIMED: Mapping[str, Callable[[Bench], list[Row]]] = {
    "stages": stages.measure,
    "clients": clients.measure,
    "clicks": clicks.measure,
    "rle": lambda bench: [run_lengths.measure(bench.rounds)],
}
_TOLD: Mapping[str, tuple[str, Callable[[Bench], list[Record]]]] = {
    "answers": ("The same answers as float32 in torch", answers.measure),
    "detectors": ("LLMDet tiny beside Grounding DINO tiny, OpenVINO", detectors.measure),
    "memory": ("Memory", memory.measure),
    "segmenters": ("Segmenters side by side, by OpenVINO", segmenters.measure),
    "cluster": ("Replicas on this machine, by Ray Serve", cluster.measure),
    "tiles": ("Tiles of a large image", tiles.measure),
    "growth": ("How a first prompt grows, ours", growth.measure),
}
_DEVICE = "cpu"
_WIDTH = 140  # of the table, in characters


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write the JSON and the plot."""
    options = _parser().parse_args(arguments)
    if options.device == "cuda":
        with finishing():
            return gpu_check.main([f"--only={name}" for name in gpu_check.MEASUREMENTS])
    parts = options.only or [*_TIMED, *_TOLD]
    threads = int(os.environ.get("OMP_NUM_THREADS") or usable_cores())
    machine.pin_threads(threads)
    date = datetime.now(UTC).date().isoformat()
    album = Album()
    with finishing(), serving(album) as address:
        bench = Bench(
            album,
            address,
            make_models(),
            Compute(_DEVICE, threads=threads),
            machine.facts(_DEVICE),
            1 if options.quick else options.rounds,
            is_quick=options.quick,
        )
        table = [row for name in _TIMED if name in parts for row in _TIMED[name](bench)]
        records = {name: measure(bench) for name, (_, measure) in _TOLD.items() if name in parts}
    facts = {**bench.machine, "OpenVINO threads": threads, "rounds": bench.rounds}
    path = OUTPUT / f"{'-'.join(['bench', *(options.only or []), *['quick'] * options.quick])}.json"
    report.write_json(path, table, facts, date, records)
    _print(table, records, facts, path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often a request is measured")
    parser.add_argument(
        "--quick", action="store_true", help="640x480 with 10 boxes only, one round"
    )
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default=_DEVICE,
        help="cuda measures what `make gpu-check` does, without its tests",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", choices=[*_TIMED, *_TOLD], help="one part; may be repeated"
    )
    return parser


def _print(
    table: Sequence[Row],
    records: Mapping[str, Sequence[Record]],
    facts: Mapping[str, object],
    path: Path,
) -> None:
    # What goes to a file has no width of its own.
    console = Console(width=max(Console().width, _WIDTH))
    if table:
        report.print_table(table, console)
    plotted = panels(table)
    if plotted:
        image = path.with_suffix(".png")
        report.plot(image, plotted, _title(facts))
        console.print(f"Plot: {image.name}")
    for name, told in records.items():
        report.print_records(_TOLD[name][0], told, console)
    report.print_records(
        "Measured on", [{"fact": name, "value": str(fact)} for name, fact in facts.items()], console
    )
    console.print(
        "Ours is in float32 by OpenVINO where nothing else is said; the reference, torch."
    )
    console.print(f"All figures: {path.name}")


def _title(facts: Mapping[str, object]) -> str:
    return (
        f"{facts['cpu']}, {facts['torch threads']} threads, "
        f"{facts['GFLOP/s float32']} GFLOP/s in float32"
    )
