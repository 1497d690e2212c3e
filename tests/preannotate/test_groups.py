"""Near-duplicates of a run: frames of one scene are one group, in a folder and in a project."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from grounded_labeler.cli.preannotate import main
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.errors import SettingsError
from grounded_labeler.preannotate.groups import groups_of, write_to_tasks
from grounded_labeler.preannotate.names import EMBEDDINGS, GROUPS, JOURNAL
from tests.models.test_embedding import frame
from tests.preannotate.label_studio_server import Project, serve
from tests.preannotate.test_kept import BOXES, looked_at

pytestmark = pytest.mark.slow

Run = Callable[..., int]
FRAMES = {"a1": 1000, "b1": 1001, "a2": 1000, "c1": 1002}  # the file and its scene


@pytest.fixture(autouse=True)
def demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two frames of one scene, and two other scenes."""
    made = tmp_path / "photos"
    made.mkdir()
    for number, (name, seed) in enumerate(FRAMES.items()):
        scene = draw_image(np.random.default_rng(seed)).image
        Image.fromarray(frame(scene, np.random.default_rng(number))).save(made / f"{name}.png")
    return made


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    def run(*options: str) -> int:
        given = ["--images", str(folder), "--labels", "Circle,Star", "--out", str(tmp_path / "out")]
        return main([*given, *options])

    return run


def test_frames_of_a_folder_are_one_group(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--group-duplicates") == 0
    same = "near-duplicates-of-a1.png"
    assert groups_of(out) == {"a1.png": same, "a2.png": same}
    assert "2 of 4 images are in 1 groups, the largest of 2." in capsys.readouterr().out
    # The journal does not hold what the other file has.
    assert json.loads(_first_outcome(out / JOURNAL))["images"]["image"]["embedding"] is None
    # Run again, it looks at nothing, and the groups are the same.
    assert run("--group-duplicates") == 0
    assert looked_at(capsys.readouterr().out)[1] == 0
    assert groups_of(out) == {"a1.png": same, "a2.png": same}


def _first_outcome(journal: Path) -> str:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(journal)) as database:
        [text] = database.execute("SELECT outcome FROM outcomes LIMIT 1").fetchone()
    return str(text)


def test_a_run_that_ended_goes_on_with_what_it_had(run: Run, tmp_path: Path) -> None:
    assert run("--group-duplicates", "--limit", "2") == 0
    assert groups_of(tmp_path / "out") == {} or len(groups_of(tmp_path / "out")) == 2
    assert run("--group-duplicates") == 0
    assert sorted(groups_of(tmp_path / "out")) == ["a1.png", "a2.png"]


def test_images_that_were_labelled_without_it_are_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    out = tmp_path / "out"
    assert not (out / EMBEDDINGS).exists()
    assert not (out / GROUPS).exists()
    with pytest.raises(SettingsError, match=r"run preannotate with --group-duplicates first\."):
        groups_of(out)
    capsys.readouterr()
    assert run("--group-duplicates") == 0
    said = capsys.readouterr().out
    assert "4 tasks are in no group" in said
    assert "--overwrite labels those again" in said
    assert run("--group-duplicates", "--overwrite") == 0
    assert len(groups_of(out)) == 2


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    assert run("--group-duplicates", "--dry-run") == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"groups": 3}', "no json"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / GROUPS).write_text(text)
    with pytest.raises(SettingsError, match=r"groups\.json cannot be read"):
        groups_of(tmp_path)


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(BOXES)
    for path in sorted(folder.iterdir()):
        made.add(f"/data/upload/7/12345678-{path.name}", path.read_bytes())
    with serve(made):
        monkeypatch.setenv("LABEL_STUDIO_URL", made.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
        yield made


@pytest.fixture
def ask(project: Project, tmp_path: Path) -> Run:
    def run(*options: str) -> int:
        return main(["--project", str(project.number), "--out", str(tmp_path / "out"), *options])

    return run


def groups_in(project: Project) -> list[str | None]:
    return [task["data"].get("group") for task in project.tasks]


def test_tasks_of_a_project_get_their_group(project: Project, ask: Run, tmp_path: Path) -> None:
    project.tasks[2]["data"]["more"] = 5
    assert ask("--group-duplicates") == 0
    same = "near-duplicates-of-1"
    assert groups_in(project) == [same, same, None, None]
    assert project.tasks[0]["data"]["image"] == "/data/upload/7/12345678-a1.png"
    assert project.tasks[2]["data"]["more"] == 5
    assert len(project.predictions) == 4
    assert ask("--group-duplicates") == 0
    assert ask("--group-duplicates", "--overwrite") == 0
    assert groups_in(project) == [same, same, None, None]
    assert groups_of(tmp_path / "out") == {"1": same, "2": same}


def test_the_group_that_somebody_wrote_stays(
    project: Project, ask: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    project.tasks[0]["data"]["group"] = "mine"
    project.tasks[3]["data"]["group"] = "near-duplicates-of-99"  # of an earlier run
    assert ask("--group-duplicates") == 0
    assert groups_in(project) == ["mine", "near-duplicates-of-1", None, None]
    assert '1 tasks keep the "group" that somebody else wrote' in capsys.readouterr().out


def test_an_export_leaves_the_project_as_it_is(project: Project, ask: Run, tmp_path: Path) -> None:
    assert ask("--group-duplicates", "--export", str(tmp_path / "coco.json")) == 0
    assert groups_in(project) == [None] * 4
    assert sorted(groups_of(tmp_path / "out")) == ["1", "2"]


def test_without_the_option_nothing_is_written(project: Project, ask: Run) -> None:
    assert ask() == 0
    assert groups_in(project) == [None] * 4


def test_only_what_changes_is_written() -> None:
    tasks = [
        {"id": 1, "data": {"image": "a", "group": "near-duplicates-of-1"}},
        {"id": 2, "data": {"image": "b"}},
        {"id": 3, "data": {"image": "c"}},
    ]
    written: list[tuple[int, str, str | None]] = []
    groups = {"1": "near-duplicates-of-1", "2": "near-duplicates-of-1"}
    write_to_tasks(groups, tasks, lambda *call: written.append(call))
    assert written == [(2, "group", "near-duplicates-of-1")]


def test_twelve_bits_are_counted_and_stretched(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for path in folder.iterdir():
        deep = np.asarray(Image.open(path))[..., ::-1].astype(np.uint16) * 16
        cv2.imwrite(str(path), deep.astype(np.uint16))
    assert run() == 0
    said = capsys.readouterr().out
    assert "Nearly black: 4 images" in said
    assert "STRETCH=true or --stretch brightens them." in said
    dark = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]
    assert run("--stretch") == 0
    said = capsys.readouterr().out
    assert looked_at(said) == (4, 4), "another --stretch is another run"
    assert "Nearly black" not in said
    bright = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]
    assert len(bright) > len(dark)
    assert run("--stretch") == 0
    assert looked_at(capsys.readouterr().out) == (4, 0)
