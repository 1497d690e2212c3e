"""What the processes hold in memory: ours, and the two workers of today's example.

Each is measured in a process of its own, once it has answered; the example's workers
load the models each for itself.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.holding import BOXES, MASKS, OURS
from benchmarks.report import Record

GOAL, WORKERS = 0.55, 2
_ROOT = Path(__file__).parents[1]
_MIB = 2**20


def measure(bench: Bench) -> list[Record]:
    """Ours, detector and MobileSAM, after 16 clients at once; the example, with and without SAM."""
    if machine.resident_bytes() is None:
        bench.say("memory: not measured, as only Linux tells what a process holds")
        return []
    threads = bench.compute.threads
    return compared({what: _held(bench, what, threads) for what in (OURS, BOXES, MASKS)})


def compared(held: Mapping[str, Mapping[str, int]]) -> list[Record]:
    """Records of what each process held, in bytes.

    "resident" at the end, "idle" when nothing has come for a while, "peak" at most. The
    goal is for what is held while nobody asks.
    """
    ours = held[OURS]["idle"]
    records: list[Record] = []
    for what, name, workers in (
        (OURS, "ours, boxes and masks, 16 clients", 1),
        (BOXES, "example, boxes alone", WORKERS),
        (MASKS, "example, boxes and masks", WORKERS),
    ):
        idle = held[what]["idle"] * workers
        records.append(
            {
                "processes": name,
                "number": workers,
                "idle, MiB": round(idle / _MIB),
                "after work, MiB": round(held[what]["resident"] * workers / _MIB),
                "peak, MiB": round(held[what]["peak"] * workers / _MIB),
                "ours to it": ours / idle,
                f"ours at most {GOAL:.0%}": "" if what == OURS else _verdict(ours / idle),
            }
        )
    return records


def _verdict(share: float) -> str:
    return "pass" if share <= GOAL else "FAIL"


def _held(bench: Bench, what: str, threads: int) -> dict[str, int]:
    bench.say(f"memory, {what}")
    command = [sys.executable, "-m", "benchmarks.holding", what, str(threads)]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True, text=True)
    held: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return held
