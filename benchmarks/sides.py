"""Two checkouts of this project measured in turns: a process for each, and one computes at a time.

The one before is an older checkout, which somebody made with `git worktree add`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.answers import pairs
from benchmarks.full_size import OUTPUT, Folders
from benchmarks.reference import Answer
from benchmarks.timing import Seconds
from grounded_labeler.coco import coco_mask
from grounded_labeler.demo.evaluate import mask_iou

HERE = Path(__file__).parents[1]
_WORKER = Path(__file__).with_name("side_worker.py")
_LAST_LINES = 5


class SideError(RuntimeError):
    """A side cannot do what it was asked for; the message has its own sentence."""


@dataclass(frozen=True)
class Agreement:
    """How many of the reference's boxes a side has, by the rule, and how alike masks are.

    `share` is from 0 to 1; `iou` is the mean of the masks of the reference's boxes.
    """

    share: float
    iou: float

    def __str__(self) -> str:
        return f"{self.share:.0%}, {self.iou:.3f}"


def environment(checkout: Path) -> dict[str, str]:
    """The environment of a process that runs the code of `checkout`, with this one's packages."""
    return os.environ | {"PYTHONPATH": str(checkout.resolve())}


class Side:
    """The models of one checkout, in a process that waits while it is not asked."""

    def __init__(self, name: str, process: "subprocess.Popen[str]", log: Path) -> None:
        """`process` answers a line of JSON with another one; what it logs is in `log`."""
        self.name = name
        self._process, self._log = process, log

    def precisions(self) -> list[str]:
        """The precisions that this side knows, whether or not this machine has them."""
        known: list[str] = self._call("precisions")["precisions"]
        return known

    def load(self, folders: Folders, threads: int, precision: str = "fp32") -> None:
        """Load the models; raises SideError where they cannot be computed in that precision."""
        self._call(
            "load",
            detector=str(folders.detector.resolve()),
            tokenizer=str(folders.tokenizer.resolve()),
            segmenter=str(folders.segmenter.resolve()),
            threads=threads,
            precision=precision,
        )

    def ask(self, image: str, prompt: str, count: int, threshold: float = 0.0) -> Seconds:
        """The seconds of each stage of one prompt on the image at this address."""
        answer = self._call("ask", image=image, prompt=prompt, count=count, threshold=threshold)
        return dict(answer["seconds"])

    def agreement(self, image: str, caption: str, reference: Answer) -> Agreement:
        """How much of the reference's answer for an image of the album this side gives.

        Random weights like "." as much as "cat", and the reference takes the best of all tokens:
        so its boxes are looked for among all that the side proposes.
        """
        answer = self._call("answer", image=image, caption=caption, boxes=reference.boxes.tolist())
        boxes = np.array(answer["boxes"], np.float32).reshape(-1, 4)
        scores = np.array(answer["scores"], np.float32)
        same = pairs((reference.boxes, reference.scores), (boxes, scores))
        if reference.masks is None:
            raise ValueError("the reference must have made masks, got none")
        masks = zip(reference.masks, answer["masks"], strict=True)
        ious = [mask_iou(theirs, coco_mask(own).full()) for theirs, own in masks]
        return Agreement(len(same) / len(reference.boxes), float(np.mean(ious)))

    def _call(self, do: str, **given: object) -> Mapping[str, Any]:
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None:
            raise ValueError("the process of a side must have pipes, got none")
        try:
            requests.write(f"{json.dumps({'do': do, **given})}\n")
            requests.flush()
        except BrokenPipeError:
            pass  # it has ended: the empty answer below says so
        line = answers.readline()
        if not line:
            raise SideError(f"{self.name}: its process has ended. {last_lines(self._log)}")
        answer: Mapping[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.name}: {answer['error']}")
        return answer


@contextmanager
def open_side(name: str, checkout: Path) -> Iterator[Side]:
    """A side with the code of `checkout`, ended with the block."""
    log = OUTPUT / f"side-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            # Nothing beside the script is imported: it belongs to this checkout.
            [sys.executable, "-P", str(_WORKER)],
            cwd=checkout,
            env=environment(checkout),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        ) as process,
    ):
        try:
            yield Side(name, process, log)
        finally:
            process.kill()


def check_checkout(folder: Path) -> Path:
    """Return `folder`, absolute; raises ValueError when it is no checkout of this project."""
    missing = [name for name in ("grounded_labeler", "benchmarks") if not (folder / name).is_dir()]
    if missing:
        raise ValueError(
            f"{folder} is no checkout of this project: it has no {' and no '.join(missing)}. "
            "`git worktree add FOLDER COMMIT` makes one."
        )
    return folder.resolve()


def last_lines(log: Path) -> str:
    """The end of a log, to show in a sentence."""
    lines: Sequence[str] = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " ".join(lines[-_LAST_LINES:])
