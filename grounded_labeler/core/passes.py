"""The candidates of several forward passes as one."""

from collections.abc import Sequence

import numpy as np

from grounded_labeler.core.types import Candidates


def join(parts: Sequence[Candidates], phrases: int) -> Candidates:
    """Concatenate the candidates of several passes over one image; N = 0 without a pass.

    `phrases` is the number of their columns. Raises ValueError where a pass has another number.
    """
    none = Candidates(
        np.zeros((0, 4), np.float32),
        np.zeros((0, phrases), np.float32),
        np.zeros((0, phrases), np.float32),
        np.zeros(0, np.intp),
    )
    return Candidates(
        np.concatenate([part.boxes for part in (none, *parts)]),
        np.concatenate([part.peaks for part in (none, *parts)]),
        np.concatenate([part.means for part in (none, *parts)]),
        np.concatenate([part.captions for part in (none, *parts)]),
        is_coarse=any(part.is_coarse for part in parts),
    )
