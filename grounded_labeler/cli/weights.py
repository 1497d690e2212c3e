"""Download the files of the chosen models, check them, and make OpenVINO graphs for CPUs.

Then each model runs once and is compared with what was published of it, as `verify` does;
VERIFY=off leaves that out. DETECTOR and SEGMENTER, or MODELS, choose, and MODEL_DIR; the options
below take their place.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.console import tell
from grounded_labeler.errors import GroundedLabelerError, WeightsError, sentence_of
from grounded_labeler.interrupts import check, finishing
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import make_weights
from grounded_labeler.weights.checksums import check_present, verify
from grounded_labeler.weights.download import download, pinned
from grounded_labeler.weights.hub import Hub
from grounded_labeler.weights.model import Engine, Model
from grounded_labeler.weights.reference_images import ReferenceImages
from grounded_labeler.weights.transfer import WAITS
from grounded_labeler.weights.verification import Outcome

# Of making graphs, measured on two cores; docs/models.md has more.
_USUAL_COST = "this takes a minute or two"
_COSTS: dict[Engine, str] = {
    "sam3": "this takes five minutes and 16 GB of memory; --no-export leaves it out"
}


def main(argv: Sequence[str] | None = None, *, waits: Sequence[float] = WAITS) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    parser = parser_of("weights", __doc__ or "")
    parser.add_argument("--detector", metavar="NAME", help="instead of DETECTOR")
    parser.add_argument("--segmenter", metavar="NAME", help="instead of SEGMENTER and USE_SAM")
    parser.add_argument("--model-dir", metavar="DIR", help="instead of MODEL_DIR")
    parser.add_argument("--check", action="store_true", help="only check that all files are here")
    parser.add_argument(
        "--no-export",
        action="store_true",
        help="skip the OpenVINO graphs, and the verification after them; prediction on a CPU is "
        "then two to three times slower",
    )
    parser.add_argument(
        "--pin", action="store_true",
        help="only print what the catalog would hold of the chosen models of the hub",
    )  # fmt: skip
    parser.add_argument(
        "--for-image", action="store_true",
        help="refuse models whose terms bind whoever gets the image that is being built",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    try:
        with finishing():
            _run(arguments, waits)
    except GroundedLabelerError as error:
        sentence = str(error)
    except OSError as error:
        sentence = (
            f"{sentence_of(error)} Free some space there, or set MODEL_DIR to a folder that can"
            f" be written to, and run `{make_weights()}` again."
        )
    else:
        return 0
    check()
    sys.stderr.write(f"{sentence}\n")
    return 1


def _run(arguments: argparse.Namespace, waits: Sequence[float]) -> None:
    settings = Settings.from_env(environment(arguments))
    models = settings.offered.models(settings.model_dir)
    if arguments.check:
        check_present(models, settings.model_dir)
        tell(f"{', '.join(model.name for model in models)}: all files are here")
        return
    if arguments.for_image:
        _check_for_image(models)
    token = settings.hf_token
    hub = Hub(settings.hf_endpoint, None if token is None else token.get_secret_value())
    if arguments.pin:
        sys.stdout.write("".join(pinned(model, settings.model_dir, hub, waits) for model in models))
        return
    for model in models:
        download(model, settings.model_dir, waits=waits, hub=hub, accepted=settings.accept_licences)
    # What a repository holds is known only now.
    models = settings.offered.models(settings.model_dir)
    if not arguments.no_export:
        _export(models, settings.model_dir)
        if settings.verify:
            _verify(settings)


def _verify(settings: Settings) -> None:
    """Compare the models with what was published; raises WeightsError when one differs."""
    from grounded_labeler.cli import verify as command  # noqa: PLC0415 - it imports this module

    images = ReferenceImages(settings.model_dir)
    for one in command.verify_all(command.chosen(settings), settings, images):
        if one.outcome is Outcome.DIFFERS:
            raise WeightsError(f"{one.model} {command.differences(one)}")
        if one.outcome is Outcome.FAILED:
            raise WeightsError(f"{one.model} cannot be verified: {one.reason}")
        tell(f"{one.model}: {one.outcome}{f': {one.reason}' if one.reason else ''}")


def _check_for_image(models: Sequence[Model]) -> None:
    for model in models:
        if model.terms is not None:
            raise WeightsError(
                f"{model.name} has terms of its own, {model.terms.name}, which bind whoever gets "
                "an image that holds it: build with WEIGHTS=none, set MODEL_DIR to a folder on a "
                "volume, and fetch it there."
            )


def _export(models: Sequence[Model], model_dir: Path) -> None:
    # What packages remark about each other and about being traced was looked into.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with warnings.catch_warnings(action="ignore"):
        _make_graphs(models, model_dir)


def _make_graphs(models: Sequence[Model], model_dir: Path) -> None:
    from grounded_labeler.models import export as exports  # noqa: PLC0415 - `--check` must not wait for its imports

    for model in models:
        verify(model, model_dir)
        tell(f"{model.name}: making graphs for the CPU, {_COSTS.get(model.engine, _USUAL_COST)}")
        made = exports.export(model, model_dir)
        tell(f"{model.name}: {'graphs made' if made else 'graphs were here'}")


def environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the environment with the command line's choices in place of the variables."""
    given = {
        "DETECTOR": arguments.detector,
        "SEGMENTER": arguments.segmenter,
        "MODEL_DIR": arguments.model_dir,
    }
    replaced = {"USE_SAM", "USE_MOBILE_SAM"} if arguments.segmenter is not None else set()
    if arguments.detector is not None or arguments.segmenter is not None:
        replaced.add("MODELS")
    kept = {key: value for key, value in os.environ.items() if key not in replaced}
    return kept | {key: value for key, value in given.items() if value is not None}
