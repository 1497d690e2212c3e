"""The values of regions of masks, kept as JSON: a new threshold sends what is there.

To write the run lengths, the image or the outline of a large mask takes longer than to find it
again in a cache. They depend on nothing but the mask's pixels and the form of the tag.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.cache import Cache
from grounded_labeler.core.polygons import LeftOut
from grounded_labeler.core.types import Mask
from grounded_labeler.label_studio.json_text import JsonText
from grounded_labeler.label_studio.region_values import Value, region_values
from grounded_labeler.label_studio.schema import Control

# Of the cache's memory: what models compute takes longer to have again.
_SHARE = 0.25
_LARGE = frozenset({"points", "vertices", "imageDataURL"})


@dataclass(frozen=True, eq=False)
class _Kept:
    values: list[Value]
    lacking: LeftOut | None

    @property
    def nbytes(self) -> int:
        members = (member for value in self.values for member in value.values())
        return sum(member.nbytes for member in members if isinstance(member, JsonText))


@dataclass(frozen=True)
class KeptValues:
    """Makes the values of regions as `region_values` does; what is large in them is `JsonText`.

    Those of masks that have a key are kept in `cache`.
    """

    cache: Cache

    def __call__(
        self,
        control: Control,
        box: NDArray[np.float32],
        mask: Mask | None,
        size_wh: tuple[int, int],
    ) -> tuple[list[Value], LeftOut | None]:
        """See `region_values`; the values may be those of other requests, too."""
        is_drawn_as_mask = control.geometry != "box" or control.form.is_rotated
        if mask is None or mask.key is None or not (is_drawn_as_mask and mask.any()):
            made = _written(*region_values(control, box, mask, size_wh))
            return made.values, made.lacking
        key = ("region values", mask.key, control.geometry, control.form)
        kept: _Kept | None = self.cache.get(key)
        if kept is None:
            # Of a mask of its own: the pixels that are unpacked for it go with it.
            own = mask.packed().mask()
            kept = _written(*region_values(control, box, own, size_wh))
            self.cache.put(key, kept, kept.nbytes, share=_SHARE)
        return kept.values, kept.lacking


def _written(values: list[Value], lacking: LeftOut | None) -> _Kept:
    return _Kept([_with_json(value) for value in values], lacking)


def _with_json(value: Value) -> Value:
    if "rle" in value:
        return {**value, "rle": JsonText.of_bytes(bytes(value["rle"]))}
    return {
        name: JsonText.of(member) if name in _LARGE else member for name, member in value.items()
    }
