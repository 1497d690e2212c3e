"""A process that measures parts of the check one after the other; the first failure ends it."""

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.check import MEASUREMENTS
from benchmarks.gpu.measuring import Budget, Notes
from benchmarks.gpu.results import EventWriter


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts that are named; what one of them raises is for who reads the log."""
    options = _parser().parse_args(arguments)
    writer = EventWriter(options.events)
    with ExitStack() as stack:
        sides = None
        for place, name in enumerate(options.parts):
            rest = [MEASUREMENTS[part].weight for part in options.parts[place:]]
            now = time.time()
            until = now + (options.until - now) * rest[0] / sum(rest)
            writer.begin(name, until)
            if sides is None:
                from benchmarks.gpu.sides import Sides, gpu_is_missing  # noqa: PLC0415

                why = gpu_is_missing() if options.device == "cuda" else None
                if why is not None:
                    for part in options.parts[place:]:
                        writer.begin(part, until)
                        writer.impossible(part, why)
                    return
                sides = stack.enter_context(Sides.of(options.models, options.device))
            notes = Notes(name, writer, Budget(until))
            module = import_module(MEASUREMENTS[name].modules[0])
            # One module has several parts: each is the function that its name says.
            getattr(module, f"measure_{name}")(sides, notes)
            writer.end(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.worker", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], required=True)
    parser.add_argument("--models", choices=["full", "demo"], required=True)
    parser.add_argument("--events", type=Path, required=True, help="the file to append to")
    parser.add_argument("--until", type=float, required=True, help="seconds since the epoch")
    parser.add_argument("parts", nargs="+", choices=[*MEASUREMENTS])
    return parser


if __name__ == "__main__":
    main()
