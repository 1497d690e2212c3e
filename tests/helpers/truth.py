"""What is drawn in the sample images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.demo.shapes import draw_image

Truth = dict[str, Any]


def true_masks(truth: Truth, image: str = "wide.jpg") -> dict[str, NDArray[np.bool_]]:
    """The mask of each shape by its name, at the displayed size."""
    size = truth[image]["displayed_size_wh"]
    drawn = draw_image(np.random.default_rng(truth[image]["seed"]), tuple(size))
    return {shape.name: shape.mask for shape in drawn.shapes}
