"""The models of the settings: weights, graphs, and one prediction."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from importlib.util import find_spec

from grounded_labeler.connecting.findings import Finding, fail, ok, warn
from grounded_labeler.connecting.service_at import NotReachable, ServiceAt, ServiceError
from grounded_labeler.connecting.trying import DEMO, SAMPLE, read_answer, sample_task, typed
from grounded_labeler.errors import WeightsError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_additions import Additions, complete_config
from grounded_labeler.models.export import export_dir
from grounded_labeler.models.runtime.device import pick_device
from grounded_labeler.models.runtime.facts import is_whole
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import make_weights
from grounded_labeler.weights.checksums import check_present, missing_files, verify
from grounded_labeler.weights.choice import ModelChoice, chosen_models
from grounded_labeler.weights.verification import Outcome, outcome_of, used_models

_SHAPES = ("Circle", "Square", "Triangle", "Star", "Ring")  # in the bundled image
_PROMPT = " . ".join(_SHAPES).lower()
_ON_RAY = "the models run on the Ray cluster"


def weights(settings: Settings) -> Iterator[Finding]:
    """Find whether each model's files are here and as they were published.

    Sums that were checked once are not computed again.
    """
    if settings.ray_address is not None:
        yield ok("weights", _ON_RAY)
        return
    for kind, model in used_models(settings.offered.pairs, settings.model_dir):
        try:
            verify(model, settings.model_dir)
        except WeightsError as error:
            yield fail("weights", str(error))
            continue
        outcome = outcome_of(kind, model, settings.model_dir)
        said = f"{model.name} ({kind}): here, sums are right, {outcome}"
        if outcome is Outcome.DIFFERS:
            yield fail("weights", said, "Do not use it: docs/models.md, Is it the right model.")
        elif outcome is Outcome.NOT_VERIFIED:
            remedy = "`grounded-labeler verify` compares it with what was published of it"
            if settings.model_dir.exists() and not os.access(settings.model_dir, os.W_OK):
                remedy += f", each time, as nothing can be kept in {settings.model_dir.resolve()}"
            yield warn("weights", said, f"{remedy}.")
        else:
            yield ok("weights", said)


def graphs(settings: Settings) -> Iterator[Finding]:
    """Find the graphs that a CPU computes with; a GPU needs none."""
    if settings.ray_address is not None:
        yield ok("graphs", _ON_RAY)
        return
    if pick_device() == "cuda":
        yield ok("graphs", "the models run on a GPU, which needs none")
        return
    remedy = f"Run `{make_weights()}` to make them"
    for kind, model in used_models(settings.offered.pairs, settings.model_dir):
        if missing_files(model, settings.model_dir):
            continue  # which the check of the weights says
        folder, named = export_dir(model, settings.model_dir), f"{model.name} ({kind})"
        if is_whole(folder):
            yield ok("graphs", f"{named}: here")
        elif folder.exists():
            yield fail("graphs", f"{named}: damaged, in {folder}", f"{remedy} again.")
        elif find_spec("torch") is None:
            said = f"{named}: not here, and neither is PyTorch, which makes them"
            yield fail("graphs", said, f"{remedy} where requirements.txt is installed.")
        else:
            said = f"{named}: not here, so that PyTorch takes two to three times as long"
            yield warn("graphs", said, f"{remedy}.")


def service(here: ServiceAt) -> list[Finding]:
    """Find whether a service runs on this machine, and how it is."""
    try:
        health = here.health()
    except NotReachable as error:
        return [warn("service", str(error), "Start it: `make serve`, or docker compose.")]
    named = {name: health.get(name) for name in ("version", "model", "device", "runtime")}
    said = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    state = f"{here.url}: {health['models']}"
    if "error" in health:
        return [fail("service", f"{state}, {said}", str(health["error"]))]
    return [ok("service", f"{state}, {said}")]


def prediction(
    settings: Settings, here: ServiceAt, environ: Mapping[str, str], seconds: float
) -> list[Finding]:
    """Find what is in a bundled image of shapes.

    A service that is ready here is asked, as loading the models twice takes their memory twice.
    Else the models run in a process of their own, which `seconds` bounds.
    """
    config = complete_config("", Additions(_SHAPES))
    [target] = read_label_config(config).images
    try:
        here.check_ready()
        results = here.predict(config, sample_task(target), typed(target, _PROMPT))
    except NotReachable:
        if settings.ray_address is not None:
            remedy = "Start the service, which asks the cluster."
            return [warn("prediction", "not tried: no service runs here", remedy)]
        return [_in_a_process(settings, environ, seconds)]
    except ServiceError as error:
        return [fail("prediction", str(error))]
    regions, status = read_answer(results)
    return [_found(f"of the service at {here.url}", regions, status)]


def _in_a_process(settings: Settings, environ: Mapping[str, str], seconds: float) -> Finding:
    choice, whose = settings.choice, f"with {settings.choice.name}"
    try:
        check_present(chosen_models(choice, settings.model_dir), settings.model_dir)
    except WeightsError:  # which the check of the weights says
        choice = ModelChoice("demo", "demo")
        whose = "with the demo models, as the weights of the others are not here"
    with as_file(files(DEMO).joinpath(SAMPLE)) as image:
        command = [sys.executable, "-m", "grounded_labeler", "label", str(image), _PROMPT, "--json"]
        command += ["--detector", choice.detector, "--segmenter", choice.segmenter]
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False,
                env=dict(environ), stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            remedy = "Look at `top`: does the machine swap, or have other things to do?"
            return fail("prediction", f"{whose}: none within {seconds:g} seconds", remedy)
    if ran.returncode < 0:
        said = f"{whose}: the process was ended by signal {-ran.returncode}"
        remedy = "Signal 9 mostly means that memory ran out: give it more, or take smaller models."
        return fail("prediction", said, remedy)
    if ran.returncode:
        [*_, last] = ["it gave no reason", *ran.stderr.strip().splitlines()]
        return fail("prediction", f"{whose}: {last}")
    return _found(whose, len(json.loads(ran.stdout)["objects"]), "")


def _found(whose: str, regions: int, status: str) -> Finding:
    said = f"{regions} shapes in the bundled image, {whose}. {status}".rstrip()
    if regions:
        return ok("prediction", said)
    return warn("prediction", said, "`grounded-labeler verify` says whether the models are right.")
