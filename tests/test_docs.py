"""What the documents show is there, and small enough to load at once."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECURITY = ROOT / "docs" / "security.md"
PICTURES = sorted((ROOT / "docs").glob("*.jpg"))


def test_the_readme_s_pictures_are_there() -> None:
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert sorted(ROOT / link for link in linked) == PICTURES


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_pictures_stay_small(picture: Path) -> None:
    assert picture.stat().st_size < 200_000


def test_the_tests_that_the_security_list_names_are_there() -> None:
    named = re.findall(r"`((?:tests|e2e|container)/[\w/]+\.py)(?:::(\w+))?`", SECURITY.read_text())
    assert len(named) > 50
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).is_file() or f"def {test}" not in (ROOT / path).read_text()
    ]
    assert missing == []
