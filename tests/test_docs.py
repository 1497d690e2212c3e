"""What the documentation shows is there, is what the code says, and is small enough to load."""

import re
from pathlib import Path

import pytest
import yaml

from grounded_labeler.label_studio.config import read_label_config
from tools.write_docs import written

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
SECURITY = DOCS / "security-tests.md"
IMAGES = sorted(DOCS.glob("*.jpg"))
PAGES = sorted(DOCS.glob("*.md"))
CONFIGS = [
    pytest.param(config, id=f"{page.stem}-{number}")
    for page in (ROOT / "README.md", *PAGES)
    for number, config in enumerate(re.findall(r"```xml\n(.*?)```", page.read_text(), re.S))
]


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 100


def test_the_readme_links_to_what_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_image_is_shown_somewhere() -> None:
    shown = {name for page in PAGES for name in re.findall(r"\]\((\S+\.jpg)\)", page.read_text())}
    assert shown == {image.name for image in IMAGES}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_images_stay_small(image: Path) -> None:
    assert image.stat().st_size < 200_000


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(
        r"[\w-]+\.(?:md|ipynb)", str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    )
    assert sorted(named) == [page.name for page in PAGES]


@pytest.mark.parametrize("doc", PAGES, ids=lambda doc: doc.name)
def test_its_tables_are_what_the_code_says(doc: Path) -> None:
    assert doc.read_text() == written(doc.read_text()), "run `make docs`"


@pytest.mark.parametrize("config", CONFIGS)
def test_label_configs_to_copy_work(config: str) -> None:
    [target] = read_label_config(config).images
    assert target.controls
    assert target.prompt_name


def test_every_module_that_is_named_is_there() -> None:
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "grounded_labeler" / "demo" / "README.md"]
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*.py")}
    files |= {path.name for path in ROOT.glob("*.py")}
    missing = [
        (page.name, name)
        for page in pages
        for name in re.findall(r"`([\w./]+\.py)(?:::\w+)?`", page.read_text())
        if not any(file == name or file.endswith(f"/{name}") for file in files)
    ]
    assert missing == []


def test_the_tests_that_the_security_list_names_are_there() -> None:
    named = re.findall(r"`((?:tests|e2e|container)/[\w/]+\.py)(?:::(\w+))?`", SECURITY.read_text())
    assert len(named) > 50
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).is_file() or f"def {test}" not in (ROOT / path).read_text()
    ]
    assert missing == []
