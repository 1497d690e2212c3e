"""The command line that shows, changes and takes back what is remembered."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grounded_labeler.cli.prompts import main
from grounded_labeler.demo.process import ROOT
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.sqlite import SQLiteStore
from tests.helpers.label_studio import TOKEN, LabelStudio, run_label_studio
from tests.helpers.prompt_servers import run_postgresql

pytestmark = pytest.mark.slow

PROJECT = "7.1795170150"
SIDES = (
    '<View><Image name="left" value="$a"/><Image name="right" value="$b"/>'
    '<RectangleLabels name="l" toName="left,right"><Label value="Cat"/></RectangleLabels></View>'
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SQLiteStore:
    """The store that the command finds by its settings."""
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "PROMPT_STORE", "MODEL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return SQLiteStore(tmp_path / "prompts.sqlite3")


@pytest.fixture
def label_studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelStudio]:
    """A Label Studio that the settings name."""
    with run_label_studio() as server:
        monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
        yield server


Captured = pytest.CaptureFixture[str]


def kept(store: SQLiteStore) -> dict[str, str]:
    return {entry.project: entry.prompt for entry in store.entries()}


def test_what_is_remembered_is_listed_newest_first(store: SQLiteStore, capsys: Captured) -> None:
    store.save(f"{PROJECT}/image", 1795170150.0, "red car . person")
    store.save("8.1795170151/left/side", 1795170211.0, "two\nlines\u202e[bold]")
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "8.1795170151\tleft/side\t2026-11-20 10:23 UTC\ttwo\\nlines\\u202e[bold]",
        f"{PROJECT}\timage\t2026-11-20 10:22 UTC\tred car . person",
    ]
    for only in (["7"], [PROJECT], ["7", "--image", "image"], ["--image", "image"]):
        assert main(["list", *only]) == 0
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith(PROJECT)
    for none in (["71"], ["7.1"], ["7", "--image", "left"]):
        assert main(["list", *none]) == 0
        assert capsys.readouterr().out == ""


def test_as_a_command_it_says_what_it_did_and_ends_with_its_code(
    store: SQLiteStore, tmp_path: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # PYTHONIOENCODING: as where a terminal knows ASCII alone.
        return subprocess.run(
            [sys.executable, "-m", "grounded_labeler", "prompts", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env=os.environ | {"DATA_DIR": str(tmp_path), "PYTHONIOENCODING": "ascii"},
        )  # fmt: skip

    done = run("set", PROJECT, "rötes auto")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\tr\\xf6tes auto\n")
    assert kept(store) == {f"{PROJECT}/image": "rötes auto"}
    failed = run("forget", "8")
    expected = (1, "", "Nothing is remembered of project 8.\n")
    assert (failed.returncode, failed.stdout, failed.stderr) == expected
    assert run("nonsense").returncode == 2


def test_listing_makes_nothing(store: SQLiteStore, tmp_path: Path, capsys: Captured) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_is_set_for_the_project_that_label_studio_knows(
    store: SQLiteStore, label_studio: LabelStudio, capsys: Captured
) -> None:
    assert main(["set", "7", " red car . -toy car "]) == 0
    assert kept(store) == {f"{PROJECT}/image": "red car . -toy car"}
    assert "red car . -toy car" in capsys.readouterr().out
    assert PromptHistory(store).newest(f"{PROJECT}/image") == "red car . -toy car"


def test_of_several_images_one_must_be_named(
    store: SQLiteStore, label_studio: LabelStudio, capsys: Captured
) -> None:
    label_studio.label_config = SIDES
    assert main(["set", "7", "cat"]) == 1
    assert capsys.readouterr().err == "There are several image tags; say which: left, right.\n"
    assert main(["set", "7", "cat", "--image", "right"]) == 0
    assert kept(store) == {f"{PROJECT}/right": "cat"}
    assert main(["set", "7", "cat", "--image", "top"]) == 1
    assert "no image top, but left, right" in capsys.readouterr().err


def test_without_label_studio_what_is_remembered_says_which_project(
    store: SQLiteStore, capsys: Captured
) -> None:
    assert main(["set", "7", "cat"]) == 1
    assert "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in capsys.readouterr().err
    store.save("7/image", 1.0, "of an earlier version")
    assert main(["set", "7", "cat"]) == 1
    store.save(f"{PROJECT}/photo", 1.0, "typed")
    assert main(["set", "7", "cat"]) == 0
    assert kept(store)[f"{PROJECT}/photo"] == "cat"
    store.save("7.1795170151/image", 1.0, "of another Label Studio")
    capsys.readouterr()
    assert main(["set", "7", "dog"]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"There are several projects of that number; say which: {PROJECT}, 7.1795170151.\n"
    )
    assert main(["set", "7.1795170151", "dog"]) == 0
    assert kept(store)["7.1795170151/image"] == "dog"
    assert kept(store)[f"{PROJECT}/photo"] == "cat"


def test_a_project_named_in_full_needs_nothing_else(store: SQLiteStore) -> None:
    assert main(["set", PROJECT, "cat"]) == 0
    assert kept(store) == {f"{PROJECT}/image": "cat"}


def test_what_is_set_replaces_what_a_clock_ahead_has_learned(store: SQLiteStore) -> None:
    store.save(f"{PROJECT}/image", 4e9, "from the future")
    assert main(["set", PROJECT, "cat"]) == 0
    assert kept(store) == {f"{PROJECT}/image": "cat"}


@pytest.mark.parametrize("prompt", ["", " . ;", "-cat", "x" * 40_001, "-a . -b"])
def test_a_prompt_that_asks_for_nothing_is_refused(
    store: SQLiteStore, prompt: str, capsys: Captured
) -> None:
    assert main(["set", PROJECT, "--", prompt]) == 1
    assert capsys.readouterr().err.endswith(".\n")
    assert kept(store) == {}


def test_a_prompt_is_taken_back(store: SQLiteStore, capsys: Captured) -> None:
    for key in (f"{PROJECT}/left", f"{PROJECT}/right", "7/image", "71.1/image"):
        store.save(key, 1.0, "cat")
    assert main(["forget", "7", "--image", "left"]) == 0
    assert set(kept(store)) == {f"{PROJECT}/right", "7/image", "71.1/image"}
    assert main(["forget", "7"]) == 0
    assert set(kept(store)) == {"71.1/image"}
    capsys.readouterr()
    assert main(["forget", "7"]) == 1
    assert capsys.readouterr().err == "Nothing is remembered of project 7.\n"


def test_of_two_label_studios_one_must_be_named(store: SQLiteStore, capsys: Captured) -> None:
    for project in (PROJECT, "7.1795170151"):
        store.save(f"{project}/image", 1.0, "cat")
    assert main(["forget", "7"]) == 1
    assert "say which" in capsys.readouterr().err
    assert len(kept(store)) == 2
    assert main(["forget", PROJECT]) == 0
    assert set(kept(store)) == {"7.1795170151/image"}


def test_a_label_studio_that_refuses_is_one_sentence(
    store: SQLiteStore, label_studio: LabelStudio, capsys: Captured
) -> None:
    assert main(["set", "9", "cat"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "404" in line
    assert main(["set", "seven", "cat"]) == 1
    assert capsys.readouterr().err == '"seven" is no number of a project.\n'


def test_the_store_of_the_settings_is_used(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with run_postgresql() as server:
        monkeypatch.setenv("PROMPT_STORE", server.url)
        assert main(["set", PROJECT, "cat"]) == 0
        assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{PROJECT}\timage\t")
    assert kept(store) == {}


def test_a_store_that_cannot_be_used_is_one_sentence(
    store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "prompts.sqlite3").mkdir()
    assert main(["list"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "cannot be used" in line
    monkeypatch.setenv("BOX_THRESHOLD", "7")
    assert main(["list"]) == 1
    assert "BOX_THRESHOLD=7" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["list"], ["set"], ["forget"]])
def test_help_says_what_each_command_does(command: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "PROJECT" in capsys.readouterr().out or not command
