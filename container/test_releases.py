"""Two versions in a registry, and an operator who has docker-compose.yml and .env alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from container.asking import asking
from container.engine import BUILD_PATIENCE_S, Compose, ComposeError, docker
from container.registry import registry
from grounded_labeler.__about__ import __version__

NEXT = "99.0.0"
# The same image but for what it says of itself, as a release that changes nothing else.
NEXT_VERSION = """
FROM {image}
USER root
RUN sed -i 's/^__version__ = .*/__version__ = "{version}"/' /app/grounded_labeler/__about__.py
USER 10001:0
"""
_VERSION = """
import json
from grounded_labeler.demo.process import HERE
print(json.dumps(HERE.get("http://127.0.0.1:9090/health", timeout=30).json()["version"]))
"""
SERVICE = "labeler"


@pytest.fixture(scope="module")
def published(cpu_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """REGISTRY/NAME that has this version and a later one, and the engine neither."""
    with registry(tmp_path_factory.mktemp("registry")) as address:
        repository = f"{address}/grounded-labeler"
        folder = tmp_path_factory.mktemp("next")
        (folder / "Dockerfile").write_text(NEXT_VERSION.format(image=cpu_image, version=NEXT))
        names = [f"{repository}:{version}-cpu" for version in (__version__, NEXT)]
        docker("tag", cpu_image, names[0])
        docker("build", "--tag", names[1], str(folder))
        try:
            for name in names:
                docker("push", name, patience=BUILD_PATIENCE_S)
                docker("rmi", name)
            yield repository
        finally:
            docker("rmi", "--force", *names)


@pytest.fixture
def operator(published: str, clone: Path, tmp_path: Path) -> Iterator[Compose]:
    """A folder with the two files, in which nothing runs yet."""
    shutil.copy(clone / "docker-compose.yml", tmp_path)
    made = Compose(tmp_path)
    write_env(made, IMAGE=published)
    yield made
    made.down()


def write_env(operator: Compose, **values: str) -> None:
    lines = {"DETECTOR": "demo", "SEGMENTER": "demo", "PORT": "19091"} | values
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    (operator.folder / ".env").write_text(text)


def upgrade(operator: Compose) -> str:
    """What docs/upgrading.md says to do; the version that runs then."""
    operator.run("pull", patience=BUILD_PATIENCE_S)
    operator.up()
    version: str = operator.python(SERVICE, _VERSION)
    return version


def test_tag_upgrades_and_goes_back_and_the_prompt_stays(operator: Compose, published: str) -> None:
    assert upgrade(operator) == __version__
    assert operator.python(SERVICE, asking("blue star"))["labels"] == ["Star"]
    before = operator.python(SERVICE, asking(None))
    for version in (NEXT, __version__):
        write_env(operator, IMAGE=published, TAG=version)
        assert upgrade(operator) == version
        after = operator.python(SERVICE, asking(None))
        assert after["texts"]["prompt"] == "blue star"
        # What only changes its number has Label Studio predict nothing anew.
        assert after["model_version"] == before["model_version"]


def test_a_version_that_was_never_published_leaves_the_one_that_runs(
    operator: Compose, published: str
) -> None:
    upgrade(operator)
    write_env(operator, IMAGE=published, TAG="98.0.0")
    with pytest.raises(ComposeError, match=r"98\.0\.0-cpu.* not found"):
        operator.run("pull")
    assert operator.python(SERVICE, _VERSION) == __version__


def test_without_a_repository_compose_says_what_to_set(operator: Compose) -> None:
    (operator.folder / ".env").unlink()
    with pytest.raises(ComposeError, match="set IMAGE to where they are published"):
        operator.run("pull")
