"""Which images are for training, and which for measuring what was trained."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from grounded_labeler.errors import ExportError
from grounded_labeler.exports.types import ExportImage

GroupBy = Literal["folder", "near-duplicate", "none"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """How images are split.

    Attributes:
        shares: of train, of val and of test, each in [0, 1], which add up to 1; one to three.
        seed: the same seed makes the same split of the same images, in whatever order they come.
        group_by: what stays on one side; None is near-duplicates where there are groups of them.
    """

    shares: tuple[float, ...] = (1.0,)
    seed: int = 0
    group_by: GroupBy | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sides."""
        return SPLITS[: len(self.shares)]

    def of(self, images: Iterable[ExportImage]) -> dict[str, str]:
        """Return the side of each image, by the image's name.

        Sides have the numbers of images that the shares say, exactly where no group has
        several images, and else as near as whole groups allow: the largest groups are placed
        first, each where most is missing. Raises ExportError for near-duplicates that nobody
        looked for.
        """
        groups: defaultdict[tuple[bool, str], list[str]] = defaultdict(list)
        for image in images:
            groups[self._group(image)].append(image.name)
        if self.group_by == "near-duplicate" and not any(shared for shared, _ in groups):
            raise ExportError(
                "No image has a group: run `preannotate --group-duplicates` first, or pass "
                "--group-by folder."
            )
        missing = _whole_numbers(self.shares, sum(map(len, groups.values())))
        sides: dict[str, str] = {}
        by_size = sorted(groups, key=lambda group: (-len(groups[group]), self._draw(group)))
        for group in by_size:
            side = max(range(len(missing)), key=missing.__getitem__)
            missing[side] -= len(groups[group])
            sides.update(dict.fromkeys(groups[group], SPLITS[side]))
        return sides

    def _group(self, image: ExportImage) -> tuple[bool, str]:
        """What the image belongs to: whether that may hold others, and its name."""
        if self.group_by == "folder":
            return True, str(PurePosixPath(image.name).parent)
        if self.group_by != "none" and image.group:
            return True, image.group
        return False, image.name

    def _draw(self, group: tuple[bool, str]) -> bytes:
        """A number drawn for a group, which the other groups do not change."""
        text = f"{self.seed}\n{group}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _whole_numbers(shares: Sequence[float], total: int) -> list[int]:
    """The shares of `total` as whole numbers that add up to it, by the largest remainders."""
    exact = [share * total for share in shares]
    whole = [int(number) for number in exact]
    by_remainder = sorted(range(len(shares)), key=lambda side: whole[side] - exact[side])
    for side in by_remainder[: total - sum(whole)]:
        whole[side] += 1
    return whole
