"""Compare models with what was published of them: are they loaded right on this machine?

Each model runs in float32 on the image that its authors, or the package it was made for,
published results of. DETECTOR, SEGMENTER and MODEL_DIR choose; the options below take their
place. The exit code is 1 when a model differs or its files are damaged, and 0 otherwise, also
where nothing was published, the image cannot be fetched or this machine cannot run the model:
the table says so.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from grounded_labeler.__about__ import __version__
from grounded_labeler.cli.weights import environment
from grounded_labeler.console import open_console, tell
from grounded_labeler.errors import (
    GroundedLabelerError,
    OutOfMemory,
    SettingsError,
    sentence_of,
)
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.checksums import missing_files
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.own import Kind
from grounded_labeler.weights.reference_images import ReferenceImages
from grounded_labeler.weights.verification import Outcome, Verification, used_models, write

_WIDE = 120  # characters, where nobody watches
_Models = Sequence[tuple[Kind, Model]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    options = _parse(argv)
    try:
        settings = Settings.from_env(environment(options))
        models = _every_model(settings.model_dir) if options.all else chosen(settings)
        images = ReferenceImages(settings.model_dir, options.image, is_offline=options.offline)
        found = list(verify_all(models, settings, images))
        images.check_all_used()
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    else:
        report(found)
    return exit_code(found)


def chosen(settings: Settings) -> _Models:
    """Return every model that the settings offer, once; raises as `chosen_models` does."""
    return used_models(settings.offered.pairs, settings.model_dir)


def verify_all(
    models: _Models, settings: Settings, images: ReferenceImages
) -> Iterator[Verification]:
    """Verify each model and write what became of it beside the weights.

    A model that this machine cannot run is not verified; one whose files are damaged failed;
    both have the reason. A result that cannot be written, as in a container that may not write
    to its weights, is one line on standard error.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from grounded_labeler.models.runtime.device import usable_cores  # noqa: PLC0415
    from grounded_labeler.models.verification import verify_model  # noqa: PLC0415 - seconds

    threads = settings.cpu_threads or usable_cores()
    for kind, model in models:
        try:
            with warnings.catch_warnings(action="ignore"):
                one = verify_model(kind, model, settings.model_dir, images, threads)
        except (SettingsError, OutOfMemory) as error:  # this machine's fault, not the model's
            outcome = Outcome.NOT_VERIFIED
            one = Verification(model.name, kind, outcome, __version__, reason=str(error))
        except GroundedLabelerError as error:
            one = Verification(model.name, kind, Outcome.FAILED, __version__, reason=str(error))
        if one.figures:
            _keep(one, settings.model_dir)
        yield one


def report(found: Sequence[Verification]) -> None:
    """Print what became of each model, for people."""
    table = Table(box=None, pad_edge=False)
    for head in ("model", "for", "result", "agree", "worst IoU", "score off by", "computed by"):
        table.add_column(head, overflow="fold")
    for one in found:
        table.add_row(one.model, one.kind, str(one.outcome), *_cells(one), one.runtime or "-")
    open_console(_WIDE).print(table)
    for one in found:
        if one.outcome is Outcome.DIFFERS:
            tell(f"{one.model} {differences(one)}")
        if one.reason:
            tell(f"{one.model}: {one.reason}")


def differences(one: Verification) -> str:
    """Return what differs, to complete a sentence that begins with the model's name."""
    figures = one.figures
    said = f"differs from what was published: {_count(figures['missing'])} of "
    said += f"{_count(figures['expected'])} results are missing"
    if one.kind == "detector":
        said += f", {_count(figures['extra'])} are too many"
    for name, meaning in (
        ("worst_iou", "the worst box overlaps by"),
        ("worst_score_difference", "the worst score is off by"),
    ):
        if figures[name] is not None:
            said += f", {meaning} {figures[name]:.4f}"
    return f"{said}. Do not use it: its files, or the packages that run it, are not the right ones."


def exit_code(found: Iterable[Verification]) -> int:
    """Return 1 when a model differs or could not be run, else 0."""
    return int(any(one.outcome in {Outcome.DIFFERS, Outcome.FAILED} for one in found))


def _keep(one: Verification, model_dir: Path) -> None:
    try:
        write(one, model_dir)
    except OSError as error:
        sys.stderr.write(f"The result for {one.model} cannot be kept: {sentence_of(error)}\n")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("verify", __doc__ or "")
    parser.add_argument("--detector", metavar="NAME", help="instead of DETECTOR")
    parser.add_argument("--segmenter", metavar="NAME", help="instead of SEGMENTER and USE_SAM")
    parser.add_argument("--model-dir", metavar="DIR", help="instead of MODEL_DIR")
    parser.add_argument(
        "--all", action="store_true", help="every model of the catalog whose files are here"
    )
    parser.add_argument(
        "--image", action="append", type=Path, default=[], metavar="FILE",
        help="an image that results were published of and that you have; its sum must be right",
    )  # fmt: skip
    parser.add_argument("--offline", action="store_true", help="fetch no image")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(argv)


def _every_model(model_dir: Path) -> _Models:
    catalogs: tuple[tuple[Kind, Iterable[Model]], ...] = (
        ("detector", DETECTORS.values()),
        ("segmenter", SEGMENTERS.values()),
    )
    return [
        (kind, model)
        for kind, models in catalogs
        for model in models
        if not missing_files(model, model_dir)
    ]


def _cells(one: Verification) -> tuple[str, str, str]:
    """How many of the expected results there are, the worst overlap, the worst score."""
    figures = one.figures
    if not figures:
        return "-", "-", "-"
    expected, missing = figures["expected"] or 0, figures["missing"] or 0
    counts = f"{expected - missing:.0f} of {expected:.0f}"
    if figures["extra"]:
        counts += f", {figures['extra']:.0f} more"
    iou, off = figures["worst_iou"], figures["worst_score_difference"]
    return counts, "-" if iou is None else f"{iou:.4f}", "-" if off is None else f"{off:.4f}"


def _count(value: float | None) -> str:
    return f"{value or 0:.0f}"
