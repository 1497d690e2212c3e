"""List every model: what it is for, its size, memory and speed, licence, and whether it is here.

Speed is the time of one image of 640x480 with ten boxes on two cores of an AMD EPYC, by OpenVINO
in float32 (docs/performance.md). The memory of a single model is not measured; a service with
groundingdino-swint-ogc and mobile-sam holds 2.1 GiB idle and at most 5.5 GiB.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.checksums import missing_files
from grounded_labeler.weights.listing import paths_of
from grounded_labeler.weights.model import Model

NOT_MEASURED = "not measured"
# Of docs/performance.md, "640x480, 10 boxes, a stage": detect; segment-encode and -decode.
_SECONDS = {"groundingdino-swint-ogc": "3.3 s", "mobile-sam": "0.6 s"}
_MEGABYTE = 1_000_000
_WIDE = 120  # characters


@dataclass(frozen=True)
class Listed:
    """One row: `size_bytes` is that of the model's own and shared files, published or bundled."""

    name: str
    kind: str
    size_bytes: int
    memory: str
    speed: str
    licence: str
    source: str
    is_here: bool


def listed(model_dir: Path) -> Iterator[Listed]:
    """Every model of the catalog; `is_here` says whether all its files are in `model_dir`."""
    for kind, models in (("detector", DETECTORS), ("segmenter", SEGMENTERS)):
        for model in models.values():
            yield Listed(
                model.name, kind, _size_of(model, model_dir), NOT_MEASURED,
                _SECONDS.get(model.name, NOT_MEASURED), model.licence, model.source,
                not missing_files(model, model_dir),
            )  # fmt: skip


def models_table(rows: Sequence[Listed]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads of a table for people, and its rows."""
    heads = ("model", "for", "size", "memory", "time an image", "licence")
    return heads, [
        (
            row.name, row.kind, f"{row.size_bytes / _MEGABYTE:,.0f} MB",
            *("-" if cell == NOT_MEASURED else cell for cell in (row.memory, row.speed)),
            row.licence,
        )
        for row in rows
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Print the list; returns the exit code."""
    parser = parser_of("models", __doc__ or "")
    parser.add_argument("--model-dir", metavar="DIR", help="instead of MODEL_DIR")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options: argparse.Namespace = parser.parse_args(argv)
    try:
        model_dir = Path(options.model_dir or Settings.from_env(os.environ).model_dir)
        rows = list(listed(model_dir))
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        return 0
    heads, cells = models_table(rows)
    table = Table(box=None, pad_edge=False)
    for head in (*heads, "here"):
        table.add_column(head, overflow="fold")
    for row, cell in zip(rows, cells, strict=True):
        table.add_row(*cell, "yes" if row.is_here else "no")
    width = None if sys.stdout.isatty() else _WIDE  # a file has no width
    Console(markup=False, highlight=False, width=width).print(table)
    sys.stdout.write(
        f"\n-: not measured. The files are looked for in {model_dir}; "
        "`grounded-labeler weights` downloads those of the chosen models.\n"
    )
    return 0


def _size_of(model: Model, model_dir: Path) -> int:
    if model.bundled is not None:
        return sum(file.stat().st_size for file in model.folder(model_dir).iterdir())
    return sum(file.bytes for file, _ in paths_of(model, model_dir))
