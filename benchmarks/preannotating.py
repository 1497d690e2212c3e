"""What `preannotate` takes beside the models' own time, on a folder of images."""

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.asking import Album
from benchmarks.side_service import SideFiles

IMAGES = 8
_SIZE_WH, _BOXES = (1920, 1080), 10


def write_images(folder: Path, album: Album, count: int = IMAGES) -> Path:
    """A folder of images that look alike and are other files."""
    images = folder / "images"
    images.mkdir()
    for number in range(count):
        (images / f"{number:04}.jpg").write_bytes(album[album.new(_SIZE_WH)])
    return images


def measure(files: SideFiles, images: Path, out: Path) -> Mapping[str, float]:
    """The seconds of a run of the command, and of the models alone: see goals.share_over."""
    settings = {"MAX_REGIONS": str(_BOXES)}
    said = files.run("preannotate", str(images), str(out), **settings)
    measured: Mapping[str, float] = json.loads(said.splitlines()[-1])
    return measured
