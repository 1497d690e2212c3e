"""Draw images with their truth, to evaluate and tune on: the example of docs/tuning.md.

Discs, squares, stars and rings, blurred, pale and grainy, among triangles and crosses that nobody
labels. The demo detector knows no "disc", and it takes crosses for stars.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from grounded_labeler.coco import coco_annotation, coco_rle
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import RGBImage
from grounded_labeler.demo.shapes import DrawnImage, draw_image
from grounded_labeler.parsing import parser_of

# The name that people give each kind of shape; others are in the images and are not labelled.
LABELS = {"circle": "Disc", "square": "Square", "star": "Star", "ring": "Ring"}
_KINDS = (*LABELS, "triangle", "cross")
_SIZE_WH = (320, 240)
_MAX_SHAPES = 6
_SEED = 50_000  # none of the images that the demo models were trained on


@dataclass(frozen=True, eq=False)
class ExampleImage:
    """`pixels` is uint8 RGB (H, W, 3); `drawn` is the image before it was spoiled."""

    name: str
    pixels: RGBImage
    drawn: DrawnImage


def draw_example(number: int) -> ExampleImage:
    """Draw one image of the example; the same number gives the same image."""
    rng = np.random.default_rng(_SEED + number)
    drawn = draw_image(rng, _SIZE_WH, _MAX_SHAPES, _KINDS)
    return ExampleImage(f"{number:04}.png", _spoiled(drawn.image, rng), drawn)


def write_example(folder: Path, count: int) -> None:
    """Write `count` images into `folder`/images, and what is in them to `folder`/truth.json.

    Raises OSError when they cannot be written.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = {name: number for number, name in enumerate(LABELS.values(), 1)}
    images: list[dict[str, object]] = []
    annotations: list[object] = []
    for number in range(1, count + 1):
        example = draw_example(number)
        Image.fromarray(example.pixels).save(folder / "images" / example.name)
        height, width = example.pixels.shape[:2]
        images.append({"id": number, "file_name": example.name, "width": width, "height": height})
        for shape in example.drawn.shapes:
            if shape.kind in LABELS:
                one = coco_annotation(
                    shape.box,
                    coco_rle(Mask.from_full(shape.mask)),
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=names[LABELS[shape.kind]],
                    score=1.0,
                )
                annotations.append({key: value for key, value in one.items() if key != "score"})
    categories = [{"id": number, "name": name} for name, number in names.items()]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def _spoiled(image: RGBImage, rng: np.random.Generator) -> RGBImage:
    """Blur an image, take contrast from it and add grain, each by chance more or less."""
    blurred = cv2.GaussianBlur(image.astype(np.float64), (0, 0), rng.uniform(0.3, 2.2))
    pale = (blurred - 128) * rng.uniform(0.35, 1.0) + 128
    grain = rng.normal(0, rng.uniform(0, 18), image.shape)
    return np.asarray((pale + grain).clip(0, 255), np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 when nothing could be written."""
    parser = parser_of("demo example", __doc__ or "")
    parser.add_argument("folder", type=Path, help="where to write images/ and truth.json")
    parser.add_argument("--images", type=_count, default=120, help="how many (default: 120)")
    options = parser.parse_args(argv)
    try:
        write_example(options.folder, options.images)
    except OSError as error:
        sys.stderr.write(f"The example cannot be written: {error.strerror}: {error.filename}.\n")
        return 1
    sys.stdout.write(f"{options.images} images and truth.json are in {options.folder}\n")
    return 0


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 9999:
        raise argparse.ArgumentTypeError("it must be from 1 to 9999")
    return count
