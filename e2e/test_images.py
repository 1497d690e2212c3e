"""Flow 10: images wherever Label Studio lets them lie."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.configs import BOXES, MASKS, view
from e2e.conftest import Annotate
from e2e.label_studio import PROGRAMS, LabelStudio
from e2e.truth import WIDE, assert_found, drawn, of_type
from grounded_labeler.demo.process import HERE, answers, free_port, running
from grounded_labeler.demo.show import image_server


@pytest.fixture
def project(label_studio: LabelStudio, service: str) -> int:
    project = label_studio.project("Images from everywhere", view(BOXES, MASKS))
    label_studio.connect(project, service)
    return project


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with image_server() as url:
        yield url


@pytest.fixture(scope="module")
def s3(out: Path) -> Iterator[str]:
    """An S3-compatible store whose bucket `images` holds one, in a folder."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(PROGRAMS / "moto_server"), "--host", "127.0.0.1", "--port", str(port)]
    with running(command, os.environ, out / "s3.log", lambda: answers(f"{url}/moto-api/")):
        assert HERE.put(f"{url}/images").ok
        key = f"{url}/images/street 1/wide.jpg"
        assert HERE.put(key, data=WIDE.read_bytes(), headers={"Content-Type": "image/jpeg"}).ok
        yield url


def test_uploaded(label_studio: LabelStudio, project: int, annotate: Annotate) -> None:
    [task] = label_studio.upload(project, WIDE)
    assert_address(label_studio, project, "/data/upload/")
    assert_red_circle(annotate, project, task)


@pytest.mark.compatibility
def test_local_file(label_studio: LabelStudio, project: int, annotate: Annotate) -> None:
    folder = label_studio.files / "street 1"
    folder.mkdir(exist_ok=True)
    shutil.copy(WIDE, folder / "wide & far.jpg")
    label_studio.sync_storage("localfiles", project=project, path=str(folder))
    assert_address(label_studio, project, "/data/local-files/?d=")
    [task] = label_studio.tasks(project)
    assert_red_circle(annotate, project, task["id"])


def test_on_the_web(label_studio: LabelStudio, project: int, web: str, annotate: Annotate) -> None:
    task = label_studio.add(project, f"{web}/wide.jpg")
    assert_red_circle(annotate, project, task)


@pytest.mark.compatibility
@pytest.mark.parametrize("presign", [True, False], ids=["redirected to", "handed through"])
def test_in_a_cloud(
    label_studio: LabelStudio, project: int, s3: str, annotate: Annotate, presign: bool
) -> None:
    label_studio.sync_storage(
        "s3", project=project, s3_endpoint=s3, bucket="images", recursive_scan=True,
        aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1",
        presign=presign,
    )  # fmt: skip
    assert_address(label_studio, project, "s3://images/")
    [task] = label_studio.tasks(project)
    assert_red_circle(annotate, project, task["id"])


def assert_address(label_studio: LabelStudio, project: int, begins: str) -> None:
    [task] = label_studio.tasks(project)
    assert task["data"]["image"].startswith(begins), task["data"]


def assert_red_circle(annotate: Annotate, project: int, task: int) -> None:
    masks = of_type(annotate(project, task, "red circle"), "brushlabels")
    assert_found(drawn(WIDE), masks, "red circle")
