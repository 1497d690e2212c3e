"""One side of a comparison: the full-size models of a checkout, which compute when asked.

Run by its path with PYTHONPATH naming the checkout, which may be an older one: only what both
have is used, and nothing of the checkout that this file lies in. A line of JSON comes in, one
goes out, until there are no more.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO, get_args

Answer = Mapping[str, Any]


class Worker:
    """Answers requests, each a JSON object whose "do" names a method of this class."""

    def __init__(self) -> None:
        self._ours: Any = None

    def precisions(self) -> Answer:
        """The precisions that this checkout knows."""
        from grounded_labeler.models.runtime.device import Precision  # noqa: PLC0415

        return {"precisions": list(get_args(Precision))}

    def load(
        self, detector: str, tokenizer: str, segmenter: str, threads: int, precision: str
    ) -> Answer:
        """Load the models of these folders; the checkout makes graphs in a folder of its own."""
        from benchmarks import machine  # noqa: PLC0415
        from benchmarks.full_size import Folders  # noqa: PLC0415
        from benchmarks.ours import Ours  # noqa: PLC0415
        from grounded_labeler.models.runtime.device import Compute  # noqa: PLC0415

        machine.pin_threads(threads)
        folders = Folders(Path(detector), Path(tokenizer), Path(segmenter))
        compute: Any = Compute  # an older one may not know this precision, and says so
        self._ours = Ours.load(folders, compute(threads=threads, precision=precision))
        return {}

    def ask(self, image: str, prompt: str, count: int, threshold: float) -> Answer:
        """The seconds of each stage of one prompt on the image at this address."""
        from benchmarks.asking import body, config  # noqa: PLC0415

        asked = body([image], prompt, config(count, masks=True, threshold=threshold))
        served = self._ours.ask(asked)
        [regions] = served.regions
        if len(regions) != count:
            raise RuntimeError(f"{count} objects were to be found, and {len(regions)} were.")
        return {"seconds": dict(served.seconds)}

    def answer(self, image: str, caption: str, boxes: list[list[float]]) -> Answer:
        """All boxes proposed in an image of the album, and the masks of `boxes`.

        Boxes are xyxy in pixels; masks are COCO's run lengths.
        """
        import numpy as np  # noqa: PLC0415

        from benchmarks.answers import proposals  # noqa: PLC0415
        from benchmarks.asking import Album  # noqa: PLC0415
        from grounded_labeler.coco import coco_rle  # noqa: PLC0415
        from grounded_labeler.core.types import DecodedImage  # noqa: PLC0415
        from grounded_labeler.core.visual_prompts import VisualPrompts  # noqa: PLC0415
        from grounded_labeler.images.decode import decode  # noqa: PLC0415

        pixels = decode(Album()[image])
        proposed, scores = proposals(self._ours, pixels, caption)
        prompts = VisualPrompts.of_boxes(np.array(boxes, np.float32))
        segments = self._ours.segmenter.segment(DecodedImage.of(pixels), prompts)
        return {
            "boxes": proposed.tolist(),
            "scores": scores.tolist(),
            "masks": [coco_rle(segment.mask) for segment in segments],
        }


def serve(worker: object, requests: TextIO, answers: TextIO) -> None:
    """Answer every line of `requests`; an error is answered as the sentence of it."""
    for line in requests:
        asked = json.loads(line)
        method: Callable[..., Answer] = getattr(worker, asked.pop("do"))
        try:
            answer = method(**asked)
        except Exception as error:  # noqa: BLE001 - the other process raises it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


if __name__ == "__main__":
    # What a package prints must not come between the answers.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(Worker(), sys.stdin, lines)
