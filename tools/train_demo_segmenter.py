"""Train the demo segmenter: a tiny SAM for coloured shapes.

    python tools/train_demo_segmenter.py --steps 1000 --out grounded_labeler/demo/weights/segmenter
    python tools/train_demo_segmenter.py --evaluate grounded_labeler/demo/weights/segmenter

Only the single mask that the service asks for is trained; the decoder's three
other masks and its quality head keep their random weights.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from grounded_labeler.core.types import Boxes, DecodedImage, Mask
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.shapes import KINDS, DrawnImage, draw_image
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.models.segmenters.sam_build import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    SamConfig,
    build_sam,
)

CONFIG = SamConfig(
    image_size=192, patch_size=8,
    encoder_dim=96, encoder_depth=3, encoder_heads=4, encoder_mlp_ratio=2.0,
    window_size=6, global_blocks=(),
    prompt_dim=64, mask_channels=8,
    decoder_depth=2, decoder_heads=4, decoder_mlp_dim=128, iou_head_dim=64,
)  # fmt: skip
SIDE = CONFIG.image_size
# Height and width as parts of the model's side; the square comes most often.
SHAPES_HW = [(1.0, 1.0), (1.0, 1.0), (0.75, 1.0), (1.0, 0.75), (2 / 3, 1.0), (1.0, 2 / 3)]
# Larger images cost more time to draw, so most are drawn at the model's size.
TRAIN_SCALES = [0.8, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0]
TEST_SCALES = [1.0, 1.5, 2.0, 3.0]
BOX_JITTER = 0.04  # standard deviation, in parts of the box's width and height


@dataclass(frozen=True)
class Sample:
    """An image at the model's size, before it is padded to a square."""

    image: NDArray[np.uint8]  # (h, w, 3)
    coverage: NDArray[np.uint8]  # (N, h, w), 255 where a pixel lies wholly in the shape
    boxes: Boxes  # (N, 4) xyxy in pixels

    def mirrored(self) -> "Sample":
        boxes = self.boxes.copy()
        boxes[:, [2, 0]] = self.image.shape[1] - self.boxes[:, [0, 2]]
        return Sample(self.image[:, ::-1], self.coverage[:, :, ::-1], boxes)

    def transposed(self) -> "Sample":
        return Sample(
            self.image.swapaxes(0, 1), self.coverage.swapaxes(1, 2), self.boxes[:, [1, 0, 3, 2]]
        )


def random_drawing(rng: np.random.Generator, scales: list[float]) -> DrawnImage:
    height, width = SHAPES_HW[int(rng.integers(len(SHAPES_HW)))]
    scale = float(rng.choice(scales))
    return draw_image(rng, (round(width * SIDE * scale), round(height * SIDE * scale)))


def jittered(rng: np.random.Generator, boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    extent = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + rng.normal(0, BOX_JITTER, boxes.shape) * extent
    height, width = size_hw
    return moved.clip(0, [width, height, width, height]).astype(np.float32)


def to_sample(drawn: DrawnImage) -> Sample:
    """The image resized as the service resizes it, its masks by area."""
    height, width = drawn.image.shape[:2]
    scale = SIDE / max(height, width)
    size_wh = (round(width * scale), round(height * scale))
    image = np.array(Image.fromarray(drawn.image).resize(size_wh, Image.Resampling.BILINEAR))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    coverage = [
        cv2.resize(shape.mask.astype(np.uint8) * 255, size_wh, interpolation=how)
        for shape in drawn.shapes
    ]
    boxes = np.array([shape.box for shape in drawn.shapes]) * np.float32(scale)
    return Sample(image, np.stack(coverage).astype(np.uint8), boxes.astype(np.float32))


@dataclass(frozen=True)
class Batch:
    pixels: Tensor  # float32 (B, 3, SIDE, SIDE), normalised and padded
    owners: Tensor  # int64 (N,), the image of each box
    boxes: Tensor  # float32 (N, 4) xyxy in pixels
    coverage: Tensor  # float32 (N, SIDE, SIDE) in [0, 1]


def make_batch(rng: np.random.Generator, pool: list[Sample], model: Sam, size: int) -> Batch:
    """`size` samples of `pool`, each in one of its eight mirrored and turned views."""
    pixels, owners, boxes, coverage = [], [], [], []
    for owner in range(size):
        sample = pool[int(rng.integers(len(pool)))]
        for turn in (Sample.transposed, Sample.mirrored, Sample.transposed):
            sample = turn(sample) if rng.random() < 0.5 else sample
        height, width = sample.image.shape[:2]
        image = torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1)
        pixels.append(model.preprocess(image))
        owners += [owner] * len(sample.boxes)
        boxes.append(jittered(rng, sample.boxes, (height, width)))
        padding = ((0, 0), (0, SIDE - height), (0, SIDE - width))
        coverage.append(np.pad(sample.coverage, padding))
    return Batch(
        torch.stack(pixels),
        torch.tensor(owners),
        torch.from_numpy(np.concatenate(boxes)),
        torch.from_numpy(np.concatenate(coverage)).float() / 255,
    )


def batch_loss(model: Sam, batch: Batch) -> Tensor:
    """Dice loss, plus cross entropy summed over the image and divided by the shape's area."""
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = model.image_encoder(batch.pixels)
        sparse, dense = model.prompt_encoder(points=None, boxes=batch.boxes, masks=None)
        # The decoder takes one image and adds `dense` to it: a blank image lets each
        # box bring its own image, so that one call serves the whole batch.
        low_res, _ = model.mask_decoder(
            image_embeddings=torch.zeros_like(embeddings[:1]),
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense + embeddings[batch.owners],
            multimask_output=False,
        )
    logits = interpolate(low_res.float(), (SIDE, SIDE), mode="bilinear", align_corners=False)[:, 0]
    truth, area = batch.coverage, batch.coverage.sum((1, 2))
    entropy = binary_cross_entropy_with_logits(logits, truth, reduction="none").sum((1, 2)) / area
    found = logits.sigmoid()
    dice = 1 - 2 * (found * truth).sum((1, 2)) / (found.square() + truth.square()).sum((1, 2))
    return (entropy + dice).mean()


def train(steps: int, batch_size: int, pool_size: int, seed: int, out: Path) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    start = time.monotonic()
    model = build_sam(CONFIG).train()
    pool = [to_sample(random_drawing(rng, TRAIN_SCALES)) for _ in range(pool_size)]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    print(f"{pool_size} images drawn in {time.monotonic() - start:.0f} s", flush=True)
    rate = 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1
    )
    recent: list[float] = []
    for step in range(1, steps + 1):
        loss = batch_loss(model, make_batch(rng, pool, model, batch_size))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if step % 50 == 0:
            seconds = time.monotonic() - start
            print(f"step {step}  loss {np.mean(recent):.4f}  {seconds:.0f} s", flush=True)
            recent.clear()
        if step % 500 == 0 or step == steps:
            out.mkdir(parents=True, exist_ok=True)
            (out / CONFIG_FILE).write_text(json.dumps(asdict(CONFIG), indent=2) + "\n")
            save_file(model.state_dict(), out / WEIGHTS_FILE)
            (out / WEIGHTS_FILE).chmod(0o644)  # safetensors leaves it to its owner alone


def overlaps(found: Sequence[Mask], image: DrawnImage) -> list[float]:
    """IoU of each mask with the shape of the same place in the list."""
    return [
        mask_iou(mask.full(), shape.mask) for mask, shape in zip(found, image.shapes, strict=True)
    ]


def evaluate(folder: Path, images: int, seed: int) -> None:
    """Mean IoU on images never trained on, through the service's own segmenter."""
    segmenter = load_segmenter("sam", folder, Compute(threads=2))
    rng = np.random.default_rng(seed)
    exact: list[float] = []
    by_kind: dict[str, list[float]] = {kind: [] for kind in KINDS}
    holes: list[bool] = []
    for _ in range(images):
        image = random_drawing(rng, TEST_SCALES)
        boxes = np.array([shape.box for shape in image.shapes])
        exact += overlaps(segmenter.segment(DecodedImage.of(image.image), boxes), image)
        moved = jittered(rng, boxes, (image.image.shape[0], image.image.shape[1]))
        found = segmenter.segment(DecodedImage.of(image.image), moved)
        for shape, iou, mask in zip(image.shapes, overlaps(found, image), found, strict=True):
            by_kind[shape.kind].append(iou)
            if shape.kind == "ring":
                x, y = ((shape.box[:2] + shape.box[2:]) / 2).astype(int)
                holes.append(not mask.full()[y, x])
    jitter = [iou for ious in by_kind.values() for iou in ious]
    for name, ious in {"true boxes": exact, "jittered boxes": jitter, **by_kind}.items():
        low = np.percentile(ious, 5)
        print(f"{name}: mean IoU {np.mean(ious):.4f}, 5th percentile {low:.4f}, {len(ious)} shapes")
    print(f"holes found in {sum(holes)} of {len(holes)} rings")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--pool-size", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=300, help="how many to evaluate on")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", type=Path, help="train and save here")
    goal.add_argument("--evaluate", type=Path, help="measure the weights saved here")
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.evaluate, options.images, seed=options.seed + 1_000_000)
    else:
        train(options.steps, options.batch_size, options.pool_size, options.seed, options.out)
