import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.checksums import check_present, missing_files, verify
from grounded_labeler.weights.download import download
from grounded_labeler.weights.model import Model, ModelFile
from tests.helpers.weights_server import CONTENT, change_a_byte, serving, small_model, sum_of


@pytest.fixture
def model() -> Iterator[Model]:
    with serving() as source:
        yield small_model(source.url)


def test_missing_files_looks_at_sizes_only(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "small" / "small.pt"
    assert missing_files(model, tmp_path) == [path]
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    assert missing_files(model, tmp_path) == [path]
    path.write_bytes(b"\0" * len(CONTENT))
    assert missing_files(model, tmp_path) == []


def test_what_is_missing_is_named_with_the_ways_out(model: Model, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"small/small\.pt.*`make weights`.*`make demo`"):
        check_present([model], tmp_path)
    with pytest.raises(WeightsError, match=r"small/small\.pt.*`make weights`.*`make demo`"):
        verify(model, tmp_path)


def test_a_bundled_model_is_missing_when_its_folder_is(tmp_path: Path) -> None:
    absent = Model("demo", "sam", "here", "Apache-2.0", bundled="no/such/folder")
    present = Model("demo", "sam", "here", "Apache-2.0", bundled="demo")
    assert missing_files(absent, tmp_path) == [absent.folder(tmp_path)]
    assert missing_files(present, tmp_path) == []
    verify(present, tmp_path)


def test_verify_sees_a_changed_byte(model: Model, tmp_path: Path) -> None:
    download(model, tmp_path)
    verify(model, tmp_path)
    change_a_byte(tmp_path / "small" / "small.pt")
    with pytest.raises(WeightsError) as caught:
        verify(model, tmp_path)
    assert "small/small.pt is damaged" in str(caught.value)
    assert sum_of(CONTENT) in str(caught.value)
    assert "`make weights`" in str(caught.value)


def test_verify_reads_a_file_once(model: Model, tmp_path: Path) -> None:
    download(model, tmp_path)
    path = tmp_path / "small" / "small.pt"
    before = path.stat()
    change_a_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    verify(model, tmp_path)  # same size and time: what was seen before counts
    path.with_name("small.pt.verified").unlink()
    with pytest.raises(WeightsError, match="is damaged"):
        verify(model, tmp_path)


def test_verify_does_not_trust_a_stamp_for_another_sum(model: Model, tmp_path: Path) -> None:
    download(model, tmp_path)
    file = model.files[0]
    newer = ModelFile(file.name, file.url, file.bytes, "0" * 64)
    with pytest.raises(WeightsError, match="is damaged"):
        verify(Model("small", "sam", "here", "Apache-2.0", (newer,)), tmp_path)


def test_verify_works_where_nothing_can_be_written(model: Model, tmp_path: Path) -> None:
    download(model, tmp_path)
    stamp = tmp_path / "small" / "small.pt.verified"
    stamp.unlink()
    stamp.mkdir()  # nobody can write a file here, not even root
    verify(model, tmp_path)
