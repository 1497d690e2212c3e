"""A detector of one's own that finds nothing, to be told from the demo's."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

DEMO_DETECTOR = Path(__file__).parents[2] / "grounded_labeler" / "demo" / "weights" / "detector"


def make_blind(folder: Path) -> Path:
    """The demo's detector, in `folder`, to which all words mean the same."""
    shutil.copytree(DEMO_DETECTOR, folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name in weights:
        if "text_projection" in name:
            weights[name] = weights[name] * 0
    save_file(weights, file, metadata={"format": "pt"})
    return folder
