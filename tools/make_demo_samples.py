"""Draw the images the demo and the tests use, with their truth beside them.

    python tools/make_demo_samples.py grounded_labeler/demo/samples

Each is chosen by its seed; none of these seeds is used in training. `rotated.jpg`
is stored lying on its side with an EXIF orientation, as phones store photos.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from grounded_labeler.demo.shapes import draw_image

# name -> (seed, displayed (width, height), stored on its side)
SAMPLES = {
    "wide.jpg": (7006, (640, 480), False),
    "tall.jpg": (7002, (420, 640), False),
    "large.jpg": (7015, (1280, 960), False),
    "rotated.jpg": (7005, (480, 640), True),
}
EXIF_ORIENTATION, TURN_RIGHT_TO_SHOW = 0x0112, 6


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for name, (seed, size_wh, on_its_side) in SAMPLES.items():
        drawn = draw_image(np.random.default_rng(seed), size_wh)
        image = Image.fromarray(drawn.image)
        exif = Image.Exif()
        if on_its_side:
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif[EXIF_ORIENTATION] = TURN_RIGHT_TO_SHOW
        image.save(folder / name, quality=88, exif=exif)
        truth[name] = {
            "seed": seed,
            "displayed_size_wh": size_wh,
            "shapes": [{"name": s.name, "box": s.box.tolist()} for s in drawn.shapes],
        }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
