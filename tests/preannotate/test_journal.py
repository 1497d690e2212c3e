"""The journal gives back what was kept, for the source and the content it was kept for."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.preannotate.journal import Journal, refuse_other
from grounded_labeler.preannotate.results import to_json
from tests.preannotate.outcomes import FAILED, task_result

SOURCE = ('{"folders": ["/a"]}', "/a")
RESULT = task_result("car")
OLD = "CREATE TABLE answers (version TEXT, task TEXT, prediction TEXT, PRIMARY KEY (version, task))"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "journal.sqlite3"


def test_what_is_kept_is_there_when_it_is_opened_again(path: Path) -> None:
    with closing(Journal(path, SOURCE, "v1")) as journal:
        journal.add([(1, "x", RESULT), ("1", "y", RESULT), ("caf\\xe9", None, FAILED)])
    with closing(Journal(path, SOURCE, "v1")) as journal:
        assert journal.contents() == {1: "x", "1": "y", "caf\\xe9": None}
        kept = journal.outcome(1)
        assert kept is not None
        assert to_json(kept) == to_json(RESULT)
        assert journal.outcome("caf\\xe9") == FAILED
        assert journal.outcome(2) is None
        journal.drop([1])
        assert journal.contents() == {"1": "y", "caf\\xe9": None}
    with closing(Journal(path, SOURCE, "v2")) as journal:
        assert journal.contents() == {}


def test_it_is_of_one_source(path: Path) -> None:
    with closing(Journal(path, SOURCE, "v1")) as journal:
        journal.add([(1, "x", RESULT)])
    before = path.read_bytes()
    other = ('{"folders": ["/b"]}', "/b")
    for dry in (False, True):
        with pytest.raises(SettingsError, match="is about /a, and not about /b: name another"):
            Journal(path, other, "v1", dry=dry)
    with pytest.raises(SettingsError, match="is about /a"):
        refuse_other(path, other)
    refuse_other(path, SOURCE)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("form", [0, 1, 2, 4])
def test_one_of_another_form_is_never_used(path: Path, form: int) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute(OLD)
        database.execute(f"PRAGMA user_version = {form}")
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="written by another version of this command"):
        Journal(path, SOURCE, "v1")
    refuse_other(path, SOURCE)  # where nothing of it is used, it is in nobody's way
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database, but some text that is long enough" * 30])
def test_what_is_no_journal_is_one_sentence(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be used: file is not a database"):
        Journal(path, SOURCE, "v1")
    assert path.read_bytes() == content
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")
    with pytest.raises(SettingsError, match="cannot be used"):
        Journal(path, SOURCE, "v1")


def test_a_full_disk_is_one_sentence_and_nothing_is_half_kept(path: Path) -> None:
    with closing(Journal(path, SOURCE, "v1")) as journal:
        journal.add([(1, "x", RESULT)])
        [(pages,)] = journal._database.execute("PRAGMA page_count")
        journal._database.execute(f"PRAGMA max_page_count = {pages}")
        many = [(number, "x", task_result(*"x" * 20)) for number in range(100)]
        with pytest.raises(SettingsError, match="cannot be used: database or disk is full"):
            journal.add(many)
        assert journal.contents() == {1: "x"}


def test_an_empty_file_becomes_one(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with closing(Journal(path, SOURCE, "v1")) as journal:
        assert journal.contents() == {}


def test_nothing_is_written_when_dry(path: Path) -> None:
    with closing(Journal(path, SOURCE, "v1", dry=True)) as journal:
        assert journal.contents() == {}
    assert not path.parent.exists()


def test_numbers_stay_and_new_images_get_new_ones(path: Path) -> None:
    with closing(Journal(path, SOURCE, "v1")) as journal:
        assert journal.numbers([("b", "image"), ("d", "image")]) == [1, 2]
    with closing(Journal(path, SOURCE, "v2")) as journal:
        images = [("a", "image"), ("b", "image"), ("c", "image"), ("d", "image")]
        assert journal.numbers(images) == [3, 1, 4, 2]


def test_overwriting_is_noted_until_it_ends(path: Path) -> None:
    with closing(Journal(path, SOURCE, "v1")) as journal:
        journal.add([(1, "x", RESULT), (2, None, FAILED)], overwriting=True)
        journal.mark_overwritten({3: True})
        assert journal.overwritten() == {1: True, 2: False, 3: True}
        journal.end_overwriting([1, 2])
        assert journal.overwritten() == {3: True}
        journal.remove_if_empty()
        assert path.exists()
        journal.end_overwriting([3])
        journal.drop([1, 2])
        journal.remove_if_empty()
    assert not path.exists()
