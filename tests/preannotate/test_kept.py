"""What is kept is used for what it was made of alone, and a limit means so many more."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from grounded_labeler.cli.preannotate import main
from grounded_labeler.preannotate import running
from grounded_labeler.preannotate.local_runner import run_locally
from tests.conftest import SAMPLES
from tests.helpers.blind import make_blind
from tests.preannotate.label_studio_server import Project, serve

pytestmark = pytest.mark.slow

BOXES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="boxes" toName="image">'
    '<Label value="Circle"/><Label value="Star"/></RectangleLabels></View>'
)
Label = Callable[..., int]


@pytest.fixture(autouse=True)
def demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def label(out: Path) -> Label:
    """Run the command on a folder; what it looked at is counted."""

    def run(folder: Path, *options: str) -> int:
        given = ["--images", str(folder), "--labels", "Circle,Star", "--out", str(out)]
        return main([*given, *options])

    return run


def folder_of(path: Path, **images: str) -> Path:
    """A folder in which the files of these names are copies of these samples."""
    path.mkdir()
    for name, sample in images.items():
        shutil.copy(SAMPLES / sample, path / f"{name}.jpg")
    return path


def dataset(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(path.read_text())
    return made


def looked_at(said: str) -> tuple[int, int]:
    """How many tasks there are, and how many of them were looked at."""
    [line] = [one for one in said.splitlines() if "of them to look at" in one]
    words = line.split()
    return int(words[0]), int(words[2])


def content(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--dry-run",), ("--limit", "1")])
def test_the_answers_about_one_folder_are_not_those_about_another(
    tmp_path: Path, label: Label, out: Path, options: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    a, b = folder_of(tmp_path / "a", x="wide.jpg"), folder_of(tmp_path / "b", x="tall.jpg")
    assert label(a) == 0
    before = content(out)
    capsys.readouterr()
    assert label(b, *options) == 1
    [sentence] = capsys.readouterr().err.splitlines()
    assert f"is about {a}, and not about {b}: name another --out, or delete" in sentence
    assert content(out) == before
    (out / "journal.sqlite3").unlink()  # as it says
    assert label(b) == 0
    width, height = Image.open(b / "x.jpg").size
    assert dataset(out / "coco.json")["images"] == [
        {"id": 1, "file_name": "x.jpg", "width": width, "height": height}
    ]


def test_a_folder_that_a_link_led_to_is_another_when_the_link_leads_elsewhere(
    tmp_path: Path, label: Label
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder_of(tmp_path / "a", x="wide.jpg"))
    assert label(link) == 0
    link.unlink()
    link.symlink_to(folder_of(tmp_path / "b", x="tall.jpg"))
    assert label(link) == 1


def test_a_replaced_image_is_looked_at_again(
    tmp_path: Path, label: Label, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "a", x="wide.jpg", y="wide.jpg", z="wide.jpg")
    assert label(folder) == 0
    old = (folder / "x.jpg").stat()
    data = (SAMPLES / "tall.jpg").read_bytes()
    same_size = data[: old.st_size].ljust(old.st_size, b"\0")
    (folder / "x.jpg").write_bytes(same_size)  # in place: the inode, the size and the times stay
    os.utime(folder / "x.jpg", ns=(old.st_atime_ns, old.st_mtime_ns))
    shutil.copy(SAMPLES / "tall.jpg", folder / "y.jpg")
    capsys.readouterr()
    assert label(folder, "--limit", "1") in {0, 2}
    assert looked_at(capsys.readouterr().out) == (3, 1)
    names = [one["file_name"] for one in dataset(out / "coco.json")["images"]]
    assert "y.jpg" not in names, "what was found in the old image is not said of the new one"
    assert label(folder) in {0, 2}
    sizes = {one["file_name"]: one["width"] for one in dataset(out / "coco.json")["images"]}
    assert sizes["y.jpg"] == Image.open(SAMPLES / "tall.jpg").width
    assert sizes["z.jpg"] == Image.open(SAMPLES / "wide.jpg").width


def test_a_limit_is_so_many_more(
    tmp_path: Path, label: Label, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "a", **{f"x{i}": "wide.jpg" for i in range(5)})
    for images, looks in ((2, 2), (4, 2), (5, 1), (5, 0)):
        capsys.readouterr()
        assert label(folder, "--limit", "2") == 0
        assert looked_at(capsys.readouterr().out) == (5, looks)
        made = dataset(out / "coco.json")
        assert {one["file_name"]: one["id"] for one in made["images"]} == {
            f"x{i}.jpg": i + 1 for i in range(images)
        }


def test_a_limit_gets_past_images_that_always_fail(tmp_path: Path, label: Label, out: Path) -> None:
    folder = folder_of(tmp_path / "a", y="wide.jpg", z="tall.jpg")
    for name in ("b.jpg", "c.jpg"):
        (folder / name).write_text("no image")
    for images in ([], ["y.jpg", "z.jpg"], ["y.jpg", "z.jpg"]):
        assert label(folder, "--limit", "2") == 2
        assert [one["file_name"] for one in dataset(out / "coco.json")["images"]] == images
    failures = (out / "failures.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in failures] == ["b.jpg", "c.jpg"]


def test_overwriting_with_a_limit_goes_on_until_all_are_done(
    tmp_path: Path, label: Label, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "a", **{f"x{i}": "wide.jpg" for i in range(3)})
    (folder / "broken.jpg").write_text("no image")
    assert label(folder) == 2
    regions = dataset(out / "coco.json")["annotations"]
    for looks in (3, 2, 3, 2):  # the broken one twice; then the second round begins
        capsys.readouterr()
        assert label(folder, "--overwrite", "--limit", "3") == 2
        assert looked_at(capsys.readouterr().out) == (4, looks)
        assert dataset(out / "coco.json")["annotations"] == regions, "none is lost on the way"
    capsys.readouterr()
    assert label(folder, "--overwrite") == 2
    assert looked_at(capsys.readouterr().out) == (4, 4)


def test_interrupted_it_leaves_the_dataset_of_what_it_has(
    tmp_path: Path, label: Label, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "a", **{f"x{i:02}": "wide.jpg" for i in range(20)})

    def interrupted(*given: Any) -> Iterator[Any]:
        for number, some in enumerate(run_locally(*given)):
            if number == 18:
                raise KeyboardInterrupt
            yield some

    monkeypatch.setattr(running, "run_locally", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label(folder)
    assert len(dataset(out / "coco.json")["images"]) == 18
    monkeypatch.undo()
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")
    assert label(folder) == 0
    assert len(dataset(out / "coco.json")["images"]) == 20


def test_without_anything_new_an_interrupt_leaves_the_dataset_alone(
    tmp_path: Path, label: Label, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "a", x="wide.jpg")
    assert label(folder) == 0
    before = (out / "coco.json").read_bytes()

    def interrupted(*_: Any) -> Iterator[Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_locally", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label(folder, "--min-score", "0.5")
    assert (out / "coco.json").read_bytes() == before


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project of two tasks with uploaded images."""
    made = Project(BOXES)
    for sample in ("wide.jpg", "tall.jpg"):
        made.add(f"/data/upload/7/12345678-{sample}", (SAMPLES / sample).read_bytes())
    with serve(made):
        monkeypatch.setenv("LABEL_STUDIO_URL", made.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
        yield made


@pytest.fixture
def ask(project: Project, out: Path) -> Label:
    def run(*options: str) -> int:
        return main(["--project", str(project.number), "--out", str(out), *options])

    return run


def test_a_project_of_another_label_studio_is_another(
    project: Project, ask: Label, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    export = tmp_path / "made.json"
    assert ask("--export", str(export)) == 0
    assert [one["file_name"] for one in dataset(export)["images"]] == [
        "upload/7/12345678-wide.jpg",
        "upload/7/12345678-tall.jpg",
    ]
    before, made = content(out), export.read_bytes()
    other = Project(BOXES, created_at="2026-05-05T05:05:05.5Z")
    other.add("/data/upload/7/12345678-wide.jpg", (SAMPLES / "tall.jpg").read_bytes())
    with serve(other):
        for options in (["--export", str(export)], ["--overwrite"], []):
            monkeypatch.setenv("LABEL_STUDIO_URL", other.url)
            capsys.readouterr()
            assert ask(*options) == 1
            [sentence] = capsys.readouterr().err.splitlines()
            assert f"is about project 7 of {project.url}, made at 2026-01-02" in sentence
            assert f"and not about project 7 of {other.url}, made at 2026-05-05" in sentence
    # The same address, but the project was made anew.
    monkeypatch.setenv("LABEL_STUDIO_URL", project.url)
    project.created_at = other.created_at
    assert ask("--export", str(export)) == 1
    assert content(out) == before
    assert export.read_bytes() == made
    assert not project.predictions
    assert not other.predictions


def test_a_task_whose_image_was_changed_is_looked_at_again(
    project: Project, ask: Label, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tmp_path / "made.json"
    assert ask("--export", str(export)) == 0
    project.tasks[0]["data"]["image"] = "/data/upload/7/12345678-tall.jpg"
    capsys.readouterr()
    assert ask("--export", str(export)) == 0
    assert looked_at(capsys.readouterr().out) == (2, 1)
    names = [one["file_name"] for one in dataset(export)["images"]]
    assert names == ["upload/7/12345678-tall.jpg", "upload/7/12345678-tall-task-2.jpg"]


def test_a_project_is_labelled_by_the_models_that_it_chose(
    project: Project, ask: Label, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    own = make_blind(tmp_path / "blind")
    monkeypatch.setenv("MODELS", f"demo+demo,{own}+demo")
    assert ask() == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert "; models: demo + demo; model version demo+demo-" in first
    field = f'<TextArea name="prompt" toName="image" detector="{own}"/>'
    project.label_config = BOXES.replace("<View>", f"<View>{field}")
    assert ask() == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert "; models: blind + demo; model version blind+demo-" in first
    of_demo, of_own = project.predictions[:2], project.predictions[2:]
    assert all(one["model_version"].startswith("demo+demo-") for one in of_demo)
    assert all(one["model_version"].startswith("blind+demo-") for one in of_own)
    assert all(one["result"] for one in of_demo)
    assert not any(one["result"] for one in of_own)


def test_sizes_of_images_without_objects_are_kept(
    project: Project, ask: Label, tmp_path: Path
) -> None:
    Image.new("RGB", (321, 123), "white").save(tmp_path / "white.png")
    address = "/data/upload/7/12345678-white.png"
    number = project.add(address, (tmp_path / "white.png").read_bytes())
    export = tmp_path / "made.json"
    assert ask("--export", str(export)) == 0
    sizes = {one["id"]: (one["width"], one["height"]) for one in dataset(export)["images"]}
    assert sizes[number] == (321, 123)
    assert not [one for one in dataset(export)["annotations"] if one["image_id"] == number]
    project.fetched.clear()
    assert ask("--export", str(export)) == 0
    assert address not in project.fetched
    assert {one["id"]: (one["width"], one["height"]) for one in dataset(export)["images"]} == sizes


def test_a_limit_for_a_project_is_so_many_more(
    project: Project, ask: Label, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        project.add("/data/upload/7/12345678-wide.jpg")
    for made, looks in ((2, 2), (4, 2), (5, 1), (5, 0)):
        capsys.readouterr()
        assert ask("--limit", "2") == 0
        assert looked_at(capsys.readouterr().out) == (5, looks)
        assert len(project.predictions) == made
    for changes in ([1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1] * 5, [2, 2, 1, 1, 1]):
        assert ask("--overwrite", "--limit", "2") == 0
        assert [one["changes"] for one in project.predictions] == changes
    assert ask("--overwrite", "--dry-run") == 0
    assert looked_at(capsys.readouterr().out.split("Written to")[-1]) == (5, 3)
    assert ask("--overwrite") == 0
    assert [one["changes"] for one in project.predictions] == [2] * 5
    assert not (out / "journal.sqlite3").exists(), "nothing is left that a later run could use"


def test_labels_that_tasks_bring_are_categories(
    project: Project, ask: Label, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.label_config = BOXES.replace('toName="image">', 'toName="image" value="$objects">')
    project.tasks[0]["data"]["objects"] = [{"value": "Ring"}, {"value": "Star"}]
    project.tasks[1]["data"]["objects"] = [{"value": "Square"}]
    export = tmp_path / "made.json"
    assert ask("--export", str(export)) == 0
    names = [one["name"] for one in dataset(export)["categories"]]
    assert sorted(names) == ["Circle", "Ring", "Square", "Star"]
    assert {one["category_id"] for one in dataset(export)["annotations"]} <= set(range(1, 5))
    project.tasks[1]["data"]["objects"] = [{"value": "Triangle"}]
    capsys.readouterr()
    assert ask("--export", str(export)) == 0
    assert looked_at(capsys.readouterr().out) == (2, 1)
