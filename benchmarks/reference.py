"""The reference: the calls that today's Label Studio example makes, each stage timed.

They are those of `examples/grounding_sam` of
https://github.com/HumanSignal/label-studio-ml-backend for one task, with the
packages' own functions.
"""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import requests
import torch
from groundingdino.config import GroundingDINO_SwinT_OGC
from groundingdino.datasets import transforms
from groundingdino.util.box_ops import box_cxcywh_to_xyxy
from groundingdino.util.inference import predict, preprocess_caption
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor, nn
from transformers import BertConfig

from benchmarks.full_size import Folders, load_sam
from benchmarks.reference_results import brush_results, rectangle_results, to_json
from benchmarks.timing import Seconds, Stopwatch
from grounded_labeler.core.types import Boxes, RGBImage, Scores
from grounded_labeler.models.detectors.official_build import (
    build_model,
    load_checkpoint,
    load_tokenizer,
)

# The example's default.
_TEXT_THRESHOLD = 0.25


@dataclass(frozen=True, eq=False)
class Answer:
    """What one request took and gave.

    `seconds` has a value for each stage and for `whole`. Of `boxes`, float32 (N, 4)
    xyxy in pixels, and `scores` (N,) row i is one object; `masks` is bool (N, H, W),
    None when none were asked for; `body` is the JSON.
    """

    seconds: Seconds
    boxes: Boxes
    scores: Scores
    masks: NDArray[np.bool_] | None
    body: str


class Reference:
    """Grounding DINO by its package's `predict` and SAM by `SamPredictor`, both in float32."""

    def __init__(
        self,
        detector: nn.Module,
        segmenter: Sam | None,
        device: str = "cpu",
        *,
        short_side: int = 800,
        long_side: int = 1333,
    ) -> None:
        """Takes over both models; without `segmenter`, no masks can be asked for.

        The sides, in pixels, are those that `load_image` resizes to.
        """
        self.device = device
        self._detector = detector.to(device)
        self._predictor: Any = segmenter and SamPredictor(segmenter.to(device).eval())
        self._transform = transforms.Compose(
            [
                transforms.RandomResize([short_side], max_size=long_side),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    @classmethod
    def load(cls, folders: Folders, device: str = "cpu", *, with_masks: bool = True) -> Self:
        """The models of these files, as the example configures them."""
        text_config = BertConfig(attn_implementation="eager")
        tokenizer = load_tokenizer(folders.tokenizer / "vocab.txt", text_config.vocab_size)
        detector = build_model(
            GroundingDINO_SwinT_OGC,
            tokenizer,
            text_config,
            use_checkpoint=True,
            use_transformer_ckpt=True,
        )
        load_checkpoint(detector, folders.detector / "groundingdino_swint_ogc.pth")
        return cls(detector, load_sam(folders.segmenter) if with_masks else None, device)

    def threshold(self, image: RGBImage, caption: str, count: int) -> float:
        """The box threshold with which `count` boxes are found. Not timed.

        Raises ValueError when no threshold tells the last of them from the next.
        """
        pixels, _ = self._transform(Image.fromarray(image), None)
        with torch.no_grad(), _quiet():
            out = self._detector(
                pixels[None].to(self.device), captions=[preprocess_caption(caption)]
            )
        scores = out["pred_logits"][0].sigmoid().max(dim=1).values.sort(descending=True).values
        last, following = scores[count - 1 : count + 1].double().tolist()
        middle = (last + following) / 2
        # `predict` compares in float32.
        if not following <= np.float32(middle) < last:
            raise ValueError(f"Boxes {count} and {count + 1} have the same score, {last}.")
        return float(np.float32(middle))

    def whole(self, url: str, caption: str, threshold: float, *, with_masks: bool = True) -> Answer:
        """One request: fetch the image, find boxes, with masks segment them, write JSON."""
        watch = Stopwatch(self.device)
        with tempfile.TemporaryDirectory() as folder, watch.whole():
            path = Path(folder) / "image.jpg"
            with watch.stage("fetch"):
                _fetch(url, path)
            image, pixels = self._load_image(path, watch)
            boxes, scores = self._detect(pixels, caption, threshold, watch)
            height, width = image.shape[:2]
            corners = box_cxcywh_to_xyxy(boxes) * torch.Tensor([width, height, width, height])
            if with_masks:
                masks, qualities = self._segment(path, corners, watch)
                with watch.stage("RLE"):
                    codes = [brush.mask2rle(mask * 255) for mask in masks]
                with watch.stage("JSON"):
                    results = brush_results(codes, qualities, (width, height))
                    body = to_json(results)
            else:
                masks = None
                with watch.stage("JSON"):
                    results = rectangle_results(corners.numpy(), scores, (width, height))
                    body = to_json(results)
        return Answer(
            watch.seconds,
            corners.numpy().astype(np.float32),
            scores.numpy().astype(np.float32),
            None if masks is None else masks.astype(np.bool_),
            body,
        )

    def _load_image(self, path: Path, watch: Stopwatch) -> tuple[NDArray[np.uint8], Tensor]:
        """The two halves of the package's `load_image`."""
        with watch.stage("decode"):
            opened = Image.open(path).convert("RGB")
            image = np.asarray(opened)
        with watch.stage("resize"):
            pixels, _ = self._transform(opened, None)
        return image, pixels

    def _detect(
        self, pixels: Tensor, caption: str, threshold: float, watch: Stopwatch
    ) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4), cxcywh as fractions of the image, and their scores (N,)."""
        with (
            _quiet(),
            watch.stage("detect"),
            watch.calls(self._detector.bert, "forward", "text"),
        ):
            boxes, scores, _ = predict(
                self._detector, pixels, caption, threshold, _TEXT_THRESHOLD, device=self.device
            )
        return boxes, scores

    def _segment(
        self, path: Path, boxes: Tensor, watch: Stopwatch
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Masks of zeros and ones, (N, H, W), and the qualities (N, 1) that SAM gives them.

        The example reads the file a second time for SAM, with OpenCV.
        """
        with watch.stage("decode"):
            stored = cv2.imread(str(path))
            if stored is None:
                raise ValueError(f"OpenCV cannot read {path.name} from the address given.")
            image = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
        if not len(boxes):
            return np.zeros((0, *image.shape[:2]), np.uint8), np.zeros((0, 1), np.float32)
        with watch.stage("segment-encode"):
            self._predictor.set_image(image)
        with (
            watch.stage("segment-decode"),
            watch.calls(self._predictor.model, "postprocess_masks", "mask resize"),
        ):
            corners = self._predictor.transform.apply_boxes_torch(boxes, image.shape[:2])
            masks, qualities, _ = self._predictor.predict_torch(
                None, None, boxes=corners.to(self.device), multimask_output=False
            )
            return masks[:, 0].cpu().numpy().astype(np.uint8), qualities.cpu().numpy()


def _quiet() -> warnings.catch_warnings:
    """Without the package's remarks on functions that will be dropped."""
    return warnings.catch_warnings(action="ignore")


def _fetch(url: str, path: Path) -> None:
    with requests.Session() as session:
        session.trust_env = False  # a proxy named in the environment is not for this machine
        response = session.get(url, timeout=60)
        response.raise_for_status()
        path.write_bytes(response.content)
