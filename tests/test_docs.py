"""What the documents show is there, and small enough to load at once."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURES = sorted((ROOT / "docs").glob("*.jpg"))


def test_the_readme_s_pictures_are_there() -> None:
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert sorted(ROOT / link for link in linked) == PICTURES


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_pictures_stay_small(picture: Path) -> None:
    assert picture.stat().st_size < 200_000
