"""Secrets in files, read again as Docker, Kubernetes and editors replace them."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from grounded_labeler.secret_files import LiveSecret, read_secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("first\n")
    return path


def live(path: Path | None, at_start: str = "first") -> LiveSecret:
    return LiveSecret(at_start, path, "SOME_FILE")


def written_in_place(path: Path, text: str) -> None:
    """Of the same length, at the same time by the clock of the file system."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path, text: str) -> None:
    (beside := path.with_name("new")).write_text(text)
    beside.replace(path)


@pytest.mark.parametrize("write", [written_in_place, replaced])
def test_another_secret_counts_at_once(path: Path, write: Callable[[Path, str], None]) -> None:
    secret = live(path)
    assert secret.get() == "first"
    write(path, "other\n")
    assert secret.get() == "other"


def test_links_are_followed_as_kubernetes_turns_them(tmp_path: Path) -> None:
    for name in ("first", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "token").symlink_to("..data/token")
    secret = live(tmp_path / "token")
    assert secret.get() == "first"
    (tmp_path / "..tmp").symlink_to("other")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    assert secret.get() == "other"


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("")])
def test_what_it_held_before_counts_while_it_cannot_be_read(
    path: Path, spoil: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """The newest, not the one of the start, which may have been withdrawn."""
    secret = live(path, at_start="long gone")
    for word in ("first", "second"):
        path.write_text(word)
        assert secret.get() == word
    spoil(path)
    with caplog.at_level(logging.WARNING):
        assert [secret.get(), secret.get()] == ["second", "second"]
    [line] = caplog.messages
    assert line.startswith("The file of SOME_FILE ")
    assert "second" not in line
    path.write_text("third")
    assert secret.get() == "third"


def test_without_a_file_it_never_changes() -> None:
    assert live(None).get() == "first"
    assert LiveSecret(None, None, "SOME_FILE").get() is None


def test_a_mark_of_the_byte_order_is_no_part_of_it(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfs3cret\r\n")
    assert read_secret(path) == "s3cret"
    path.write_text("two\nlines\n")
    assert read_secret(path) == "two\nlines"


@pytest.mark.parametrize("name", ["missing", ".", "nul\0"])
def test_what_is_no_file_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be read: "):
        read_secret(tmp_path / name)
