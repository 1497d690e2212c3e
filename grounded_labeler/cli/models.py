"""List every model: size, work, published figures, licence, and whether it is here and verified.

GFLOP is the work for an image, calculated. COCO and LVIS are published box AP in percent, with
a * where training saw the data set; clicks are published mean IoU. Nothing of that was measured
here: --json has each figure's source. docs/models.md says which model to take.
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

from grounded_labeler.console import open_console
from grounded_labeler.errors import GroundedLabelerError, WeightsError
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS, default_thresholds
from grounded_labeler.weights.checksums import missing_files
from grounded_labeler.weights.facts import (
    COCO,
    DETECTOR_FACTS,
    FIVE_CLICKS,
    LVIS,
    MEGABYTE,
    ONE_CLICK,
    SEGMENTER_FACTS,
    Facts,
)
from grounded_labeler.weights.listing import paths_of
from grounded_labeler.weights.model import DefaultThresholds, Model
from grounded_labeler.weights.own import Kind
from grounded_labeler.weights.verification import Outcome, outcome_of

NOT_MEASURED = "not measured"
# Of docs/performance.md, "640x480, 10 boxes, a stage": detect; segment-encode and -decode. Then
# of "Models side by side": a prompt in all; encoder and decoder.
_SECONDS = {
    "groundingdino-swint-ogc": "1.8 s",
    "mobile-sam": "0.4 s",
    "grounding-dino-tiny": "1.92 s",
    "llmdet-tiny": "1.91 s",
    "sam-vit-b": "3.5 s",
    "sam2.1-tiny": "2.7 s",
    "edgetam": "0.5 s",
}
_WIDE = 160  # characters
# Below, the columns that say what a model is for and how long an image takes are left out.
_ALL_COLUMNS = 135
_SHORT = {
    Outcome.VERIFIED: "yes",
    Outcome.DIFFERS: "DIFFERS",
    Outcome.NOT_VERIFIED: "not yet",
    Outcome.NO_VALUES: "no values",
}
_FIGURES: dict[str, tuple[tuple[str, str], ...]] = {
    "detector": (("COCO", COCO), ("LVIS", LVIS)),
    "segmenter": (("1 click", ONE_CLICK), ("5 clicks", FIVE_CLICKS)),
}


@dataclass(frozen=True)
class Listed:
    """One row: `size_bytes` is that of the model's own and shared files, None if not known.

    It is exact where `is_exact`: published with sums, listed beside the weights, or bundled.
    `memory` and `speed` are what was measured here, `thresholds` a detector's own.
    """

    name: str
    kind: Kind
    size_bytes: int | None
    is_exact: bool
    memory: str
    speed: str
    licence: str
    source: str
    is_here: bool
    verified: Outcome
    facts: Facts
    thresholds: DefaultThresholds | None


def listed(model_dir: Path) -> Iterator[Listed]:
    """Every model of the catalog; `is_here` says whether all its files are in `model_dir`."""
    catalogs: tuple[tuple[Kind, dict[str, Model]], ...] = (
        ("detector", dict(DETECTORS)),
        ("segmenter", dict(SEGMENTERS)),
    )
    for kind, models in catalogs:
        for model in models.values():
            facts = (DETECTOR_FACTS if kind == "detector" else SEGMENTER_FACTS)[model.name]
            size, is_exact = _size_of(model, model_dir), True
            if size is None:
                size, is_exact = facts.about_bytes, False
            yield Listed(
                model.name, kind, size, is_exact, NOT_MEASURED,
                _SECONDS.get(model.name, NOT_MEASURED), model.licence, model.source,
                not missing_files(model, model_dir), outcome_of(kind, model, model_dir), facts,
                default_thresholds(model) if kind == "detector" else None,
            )  # fmt: skip


def models_table(
    rows: Sequence[Listed], kind: Kind
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads of a table of the detectors or of the segmenters, and its rows."""
    figures = _FIGURES[kind]
    heads = (
        "model", "to use for", "size", "GFLOP", *(short for short, _ in figures), "in the cache",
        "per image", "licence",
    )  # fmt: skip
    return heads, [
        (
            row.name, row.facts.use, _megabytes(row),
            "-" if row.facts.gflop is None else f"{row.facts.gflop:,}",
            *(_figure(row.facts, figure) for _, figure in figures),
            "-" if row.facts.cached_bytes is None
            else f"{row.facts.cached_bytes / MEGABYTE:.0f} MB",
            "-" if row.speed == NOT_MEASURED else row.speed,
            _licence(row.licence),
        )
        for row in rows
        if row.kind == kind
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Print the list; returns the exit code."""
    parser = parser_of("models", __doc__ or "")
    parser.add_argument("--model-dir", metavar="DIR", help="instead of MODEL_DIR")
    parser.add_argument("--json", action="store_true", help="print all that is known, as JSON")
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
    console = open_console(_WIDE)
    _print("detector", rows, console)
    console.print()
    _print("segmenter", rows, console)
    sys.stdout.write(
        "\n-: not known, or not measured. ~: about, the files are listed at download. *: training "
        "saw the data set.\n"
        "verified: gave what was published of it here; `grounded-labeler verify` tells.\n"
        f"The files are looked for in {model_dir}; `grounded-labeler weights` downloads those of "
        "the chosen models.\n"
    )
    return 0


def _print(kind: Kind, rows: Sequence[Listed], console: Console) -> None:
    heads, cells = models_table(rows, kind)
    left_out = set() if console.width >= _ALL_COLUMNS else {"to use for", "in the cache"}
    shown = [place for place, head in enumerate(heads) if head not in left_out]
    table = Table(box=None, pad_edge=False)
    for place in shown:
        is_number = heads[place] not in {"model", "to use for", "licence"}
        head = f"{kind}s" if heads[place] == "model" else heads[place]
        table.add_column(head, justify="right" if is_number else "left", no_wrap=place == 0)
    table.add_column("verified", no_wrap=True)
    table.add_column("here", no_wrap=True)
    for row, cell in zip((row for row in rows if row.kind == kind), cells, strict=True):
        verified = _SHORT[row.verified]
        table.add_row(*(cell[i] for i in shown), verified, "yes" if row.is_here else "no")
    console.print(table)


def _megabytes(row: Listed) -> str:
    if row.size_bytes is None:
        return "-"
    return f"{'' if row.is_exact else '~'}{row.size_bytes / MEGABYTE:,.0f} MB"


def _figure(facts: Facts, figure: str) -> str:
    for one in facts.published:
        if one.figure == figure:
            return f"{one.value:.1f}{'*' if one.is_seen else ''}"
    return "-"


def _licence(licence: str) -> str:
    """Without what is in brackets, for which there is no room."""
    return licence.split(" (", maxsplit=1)[0]


def _size_of(model: Model, model_dir: Path) -> int | None:
    """The exact size, None for a repository of the hub whose files are not listed here."""
    if model.bundled is not None:
        return sum(file.stat().st_size for file in model.folder(model_dir).iterdir())
    try:
        return sum(file.bytes for file, _ in paths_of(model, model_dir)) or None
    except WeightsError:  # a damaged listing, which the download mends
        return None
