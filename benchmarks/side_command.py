"""Commands of a checkout on the models of full size: `weights`, `serve` and `preannotate`.

Run by its path with PYTHONPATH naming the checkout, which may be an older one: nothing of the
checkout that this file lies in is used. SUMS is the JSON of each weight file's size and sum: no
published sum fits random weights, so the catalog gets these, and they are verified as usual.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

PUBLISHED = ("groundingdino-swint-ogc", "mobile-sam")


def put_into_catalog(sums: dict[str, tuple[int, str]]) -> None:
    """Let the catalog state these sizes and sums of the files, by name."""
    from grounded_labeler.weights import catalog  # noqa: PLC0415

    detector, segmenter = PUBLISHED
    for model in (catalog.DETECTORS[detector], catalog.SEGMENTERS[segmenter]):
        for part in model.parts:
            for file in part.files:
                size, digest = sums[file.name]
                object.__setattr__(file, "bytes", size)
                object.__setattr__(file, "sha256", digest)


def make_graphs() -> int:
    """Make the graphs in MODEL_DIR, unless they are there, and verify the files."""
    from grounded_labeler.cli.weights import main  # noqa: PLC0415

    return main([])


def serve(address: str) -> None:
    """Serve as `grounded-labeler serve` does, until the process is ended."""
    from gunicorn.app.wsgiapp import run  # noqa: PLC0415

    from grounded_labeler import server  # noqa: PLC0415

    config = Path(server.__file__).with_name("gunicorn_config.py")
    sys.argv = ["gunicorn", "--config", str(config), "--bind", address]
    run()


class Watched:
    """What a Pipeline does while it is watched: when it ran, on what, and by whose hand."""

    def __init__(self) -> None:
        self.runs: list[tuple[float, float]] = []
        self.requests: list[Any] = []
        self.run: Callable[[Sequence[Any]], Sequence[Any]] | None = None

    def watch(self, pipeline: type[Any]) -> None:
        """Note each run of the class that has masks, which the one that warms up has not."""
        original = pipeline.run

        def run(models: Any, requests: Sequence[Any]) -> Any:  # noqa: ANN401 - of another checkout
            began = time.perf_counter()
            results = original(models, requests)
            if all(request.with_masks for request in requests):
                self.runs.append((began, time.perf_counter()))
                self.requests += requests
                self.run = lambda again: original(models, again)
            return results

        pipeline.run = run


def preannotate(images: str, out: str) -> dict[str, float]:
    """Run `preannotate` on a folder, then the models alone on the same images, decoded before.

    The first image takes longer, once in a run: memory is allocated, and graphs meet its size. So
    it counts to the start. Seconds: `start` to the second image, `run` from there to the last, of
    which the models were `busy`, `end` after it, and `alone`, the models' own on all but the
    first; `images`, how many all but the first are.
    """
    began = time.perf_counter()
    from grounded_labeler.cli.preannotate import main  # noqa: PLC0415
    from grounded_labeler.models.pipeline import Pipeline  # noqa: PLC0415

    watched = Watched()
    watched.watch(Pipeline)
    code = main(["--images", images, "--labels", "Thing", "--prompt", "cat . dog", "--out", out])
    ended = time.perf_counter()
    if code or watched.run is None:
        raise RuntimeError(f"preannotate ended with {code}.")
    _, *runs = watched.runs
    _, *requests = watched.requests
    alone = 0.0
    for number, request in enumerate(requests):
        # Another key: nothing that is kept of the image helps.
        image = replace(request.image, key=f"{request.image.key}-{number}")
        start = time.perf_counter()
        watched.run([replace(request, image=image)])
        alone += time.perf_counter() - start
    return {
        "images": len(requests),
        "start": runs[0][0] - began,
        "run": runs[-1][1] - runs[0][0],
        "busy": sum(stop - start for start, stop in runs),
        "end": ended - runs[-1][1],
        "alone": alone,
    }


def main(what: str, *given: str) -> int:
    put_into_catalog({name: tuple(one) for name, one in json.loads(os.environ["SUMS"]).items()})
    if what == "weights":
        return make_graphs()
    if what == "serve":
        serve(*given)
        return 0
    with redirect_stdout(sys.stderr):
        measured = preannotate(*given)
    sys.stdout.write(f"{json.dumps(measured)}\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    # Not through Python's own shutdown, which native threads do not always survive.
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
