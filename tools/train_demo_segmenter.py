"""Train the demo segmenter: a tiny SAM for coloured shapes.

    python tools/train_demo_segmenter.py --steps 1000 --out grounded_labeler/demo/weights/segmenter
    python tools/train_demo_segmenter.py --evaluate grounded_labeler/demo/weights/segmenter

It learns boxes, clicks and corrections as SAM did: a box or a click comes first, then up to
three clicks inside the largest wrong area, each with the logits of the round before.
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
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes, DecodedImage, RGBImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.demo.clicking import correcting_click
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.shapes import KINDS, DrawnImage, draw_image
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import Segmenter, load_segmenter
from grounded_labeler.models.segmenters.sam_build import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    SamConfig,
    build_sam,
)
from tools.write_demo_values import write_segmenter_values

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
# Larger pictures cost more time to draw, so most are drawn at the model's size.
TRAIN_SCALES = [0.8, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0]
TEST_SCALES = [1.0, 1.5, 2.0, 3.0]
MOST_ROUNDS = 4
CORRECTIONS = 3
BOXES_SHARE = 0.4  # of the batches whose first prompt is a box; a click is that of the others
BOX_JITTER = 0.04  # standard deviation, in parts of the box's width and height


@dataclass(frozen=True)
class Sample:
    """A picture at the model's size, before it is padded to a square."""

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


def to_sample(picture: DrawnImage) -> Sample:
    """The picture resized as the service resizes it, its masks by area."""
    height, width = picture.image.shape[:2]
    scale = SIDE / max(height, width)
    size_wh = (round(width * scale), round(height * scale))
    image = np.array(Image.fromarray(picture.image).resize(size_wh, Image.Resampling.BILINEAR))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    coverage = [
        cv2.resize(shape.mask.astype(np.uint8) * 255, size_wh, interpolation=how)
        for shape in picture.shapes
    ]
    boxes = np.array([shape.box for shape in picture.shapes]) * np.float32(scale)
    return Sample(image, np.stack(coverage).astype(np.uint8), boxes.astype(np.float32))


@dataclass(frozen=True)
class Batch:
    pixels: Tensor  # float32 (B, 3, SIDE, SIDE), normalised and padded
    owners: Tensor  # int64 (N,), the picture of each box
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


@dataclass(frozen=True)
class Clicks:
    """The prompts of N shapes: as many clicks for each, and perhaps a box and an earlier mask."""

    points: Tensor  # float32 (N, P, 2) xy in pixels; P may be 0
    are_positive: Tensor  # int64 (N, P), 1 on the object, 0 off it
    boxes: Tensor | None  # float32 (N, 4) xyxy in pixels
    masks: Tensor | None = None  # float32 (N, 1, 4h, 4w): low-resolution logits of the last round

    def and_then(self, points: Tensor, are_positive: Tensor, masks: Tensor) -> "Clicks":
        """With one more click for each shape, after a round that gave `masks`."""
        return Clicks(
            torch.cat((self.points, points[:, None]), 1),
            torch.cat((self.are_positive, are_positive[:, None]), 1),
            self.boxes,
            masks,
        )


def decode(
    model: Sam, embeddings: Tensor, clicks: Clicks, *, several: bool
) -> tuple[Tensor, Tensor]:
    """Low-resolution logits (N, K, 4h, 4w) and the model's own guess at their IoU (N, K).

    K is 3 with `several`, else 1; `embeddings` (N, C, h, w) are those of each shape's picture.
    """
    points = (clicks.points, clicks.are_positive) if clicks.points.shape[1] else None
    sparse, dense = model.prompt_encoder(points=points, boxes=clicks.boxes, masks=clicks.masks)
    # The decoder takes one image and adds `dense` to it: a blank image lets each
    # prompt bring its own picture, so that one call serves the whole batch.
    low_res, quality = model.mask_decoder(
        image_embeddings=torch.zeros_like(embeddings[:1]),
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense + embeddings,
        multimask_output=several,
    )
    return low_res.float(), quality.float()


def mask_loss(low_res: Tensor, quality: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of one round and, for each shape, which of the K masks is best.

    Dice, plus cross entropy summed over the picture and divided by the shape's area, of the
    mask that is best; and how far off the guess at the IoU of every mask is.
    """
    logits = interpolate(low_res, (SIDE, SIDE), mode="bilinear", align_corners=False)
    wanted = truth[:, None].expand_as(logits)
    area = truth.sum((1, 2)).clamp(min=1)[:, None]
    entropy = binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum((2, 3)) / area
    found = logits.sigmoid()
    both = (found.square() + wanted.square()).sum((2, 3))
    loss = entropy + 1 - 2 * (found * wanted).sum((2, 3)) / both
    with torch.no_grad():
        hard, right = logits > 0, wanted > 0.5
        iou = (hard & right).sum((2, 3)) / (hard | right).sum((2, 3)).clamp(min=1)
        best = loss.argmin(1)
    guess = (quality - iou).square().mean(1)
    return (loss.gather(1, best[:, None])[:, 0] + guess).mean(), best


def next_clicks(
    rng: np.random.Generator, found: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> tuple[Tensor, Tensor]:
    """Where somebody would click next: inside the largest wrong area of each of N masks.

    Its innermost point, or in half of the cases any point of it: people are not exact. Where
    nothing is wrong, the innermost point of the shape, once more.
    """
    points, are_positive = [], []
    for mask, right in zip(found, truth, strict=True):
        x, y, is_positive = correcting_click(mask, right, rng if rng.random() < 0.5 else None)
        points.append((x + 0.5, y + 0.5))
        are_positive.append(int(is_positive))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(are_positive)


def first_clicks(rng: np.random.Generator, truth: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """One click on each shape."""
    return next_clicks(rng, np.zeros_like(truth), truth)


def batch_loss(model: Sam, batch: Batch, rng: np.random.Generator, rounds: int) -> Tensor:
    """The mean loss of `rounds` rounds: a box or a click, then clicks that correct the mask."""
    truth = batch.coverage.numpy() > 0.5
    count = len(truth)
    loss = torch.zeros(())
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = model.image_encoder(batch.pixels)[batch.owners]
        if rng.random() < BOXES_SHARE:
            none = torch.zeros(count, 0, 2), torch.zeros(count, 0, dtype=torch.int64)
            clicks = Clicks(*none, batch.boxes)
        else:
            points, are_positive = first_clicks(rng, truth)
            clicks = Clicks(points[:, None], are_positive[:, None], None)
        for number in range(rounds):
            several = number == 0 and clicks.boxes is None
            low_res, quality = decode(model, embeddings, clicks, several=several)
            one, best = mask_loss(low_res, quality, batch.coverage)
            if several:  # the single mask is asked for one click, too
                single, guess = decode(model, embeddings, clicks, several=False)
                one = one + mask_loss(single, guess, batch.coverage)[0] / 2
            loss = loss + one
            if number + 1 < rounds:
                kept = low_res.detach()[torch.arange(count), best][:, None].clamp(-32, 32)
                large = interpolate(kept, (SIDE, SIDE), mode="bilinear", align_corners=False)
                more = next_clicks(rng, large[:, 0].numpy() > 0, truth)
                clicks = clicks.and_then(*more, kept)
    return loss / rounds


def like_the_first_mask(model: Sam) -> None:
    """Begin the decoder's three other masks as copies of the one that was trained before."""
    decoder = model.mask_decoder
    with torch.no_grad():
        for number in range(1, decoder.num_mask_tokens):
            decoder.mask_tokens.weight[number] = decoder.mask_tokens.weight[0]
            network = decoder.output_hypernetworks_mlps[number]
            network.load_state_dict(decoder.output_hypernetworks_mlps[0].state_dict())


def train(options: argparse.Namespace) -> None:
    """Train as the command line says and save into `options.out`."""
    steps, out, start_from = options.steps, options.out, options.start_from
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    start = time.monotonic()
    model = build_sam(CONFIG).train()
    if start_from is not None:
        model.load_state_dict(load_file(start_from / WEIGHTS_FILE))
        like_the_first_mask(model)
    pool = [to_sample(random_drawing(rng, TRAIN_SCALES)) for _ in range(options.pool_size)]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    print(f"{options.pool_size} images drawn in {time.monotonic() - start:.0f} s", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), options.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=steps, pct_start=0.1
    )
    recent: list[float] = []
    for step in range(1, steps + 1):
        rounds = 1 + int(rng.integers(MOST_ROUNDS))
        loss = batch_loss(model, make_batch(rng, pool, model, options.batch_size), rng, rounds)
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


def overlaps(found: Sequence[Mask], picture: DrawnImage) -> list[float]:
    """IoU of each mask with the shape of the same place in the list."""
    return [
        mask_iou(mask.full(), shape.mask) for mask, shape in zip(found, picture.shapes, strict=True)
    ]


def masks_of(segmenter: Segmenter, image: RGBImage, boxes: Boxes) -> list[Mask]:
    """The mask of each box."""
    segments = segmenter.segment(DecodedImage.of(image), VisualPrompts.of_boxes(boxes))
    return [segment.mask for segment in segments]


def evaluate(folder: Path, pictures: int, seed: int) -> None:
    """Mean IoU on pictures never trained on, through the service's own segmenter."""
    segmenter = load_segmenter("sam", folder, Compute(threads=2))
    rng = np.random.default_rng(seed)
    exact: list[float] = []
    by_kind: dict[str, list[float]] = {kind: [] for kind in KINDS}
    holes: list[bool] = []
    for _ in range(pictures):
        picture = random_drawing(rng, TEST_SCALES)
        boxes = np.array([shape.box for shape in picture.shapes])
        exact += overlaps(masks_of(segmenter, picture.image, boxes), picture)
        moved = jittered(rng, boxes, (picture.image.shape[0], picture.image.shape[1]))
        found = masks_of(segmenter, picture.image, moved)
        for shape, iou, mask in zip(picture.shapes, overlaps(found, picture), found, strict=True):
            by_kind[shape.kind].append(iou)
            if shape.kind == "ring":
                x, y = ((shape.box[:2] + shape.box[2:]) / 2).astype(int)
                holes.append(not mask.full()[y, x])
    jitter = [iou for ious in by_kind.values() for iou in ious]
    for name, ious in {"true boxes": exact, "jittered boxes": jitter, **by_kind}.items():
        low = np.percentile(ious, 5)
        print(f"{name}: mean IoU {np.mean(ious):.4f}, 5th percentile {low:.4f}, {len(ious)} shapes")
    print(f"holes found in {sum(holes)} of {len(holes)} rings")
    for number, ious in enumerate(click_overlaps(pictures, folder, seed)):
        enough = [np.mean(np.array(ious) >= bound) for bound in (0.85, 0.92)]
        print(
            f"{1 + number} clicks: mean IoU {np.mean(ious):.4f}, "
            f">= 0.85 in {enough[0]:.3f}, >= 0.92 in {enough[1]:.3f}, {len(ious)} shapes"
        )


def click_overlaps(pictures: int, folder: Path, seed: int) -> list[list[float]]:
    """IoU of each shape after one click and after each of three that correct the mask."""
    segmenter = load_segmenter("sam", folder, Compute(threads=2), cache=ByteCache(2**26))
    rng = np.random.default_rng(seed + 1)
    after: list[list[float]] = [[] for _ in range(1 + CORRECTIONS)]
    while len(after[0]) < pictures:
        drawn = random_drawing(rng, TEST_SCALES)
        image = DecodedImage.of(drawn.image)
        for shape in drawn.shapes:
            found, points, are_positive = np.zeros_like(shape.mask), [], []
            for ious in after:
                x, y, is_positive = correcting_click(found, shape.mask)
                points.append((x + 0.5, y + 0.5))
                are_positive.append(is_positive)
                prompts = VisualPrompts(
                    None, np.array([points], np.float32), np.array([are_positive])
                )
                [segment] = segmenter.segment(image, prompts)
                found = segment.mask.full()
                ious.append(mask_iou(found, shape.mask))
    return after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--pool-size", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=300, help="how many to evaluate on")
    parser.add_argument("--start-from", type=Path, help="begin with the weights saved here")
    parser.add_argument("--rate", type=float, default=1e-3)
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", type=Path, help="train and save here")
    goal.add_argument("--evaluate", type=Path, help="measure the weights saved here")
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.evaluate, options.images, seed=options.seed + 1_000_000)
    else:
        train(options)
        write_segmenter_values(options.out)
