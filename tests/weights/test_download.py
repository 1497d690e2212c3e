import fcntl
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.checksums import missing_files, verify
from grounded_labeler.weights.download import CHUNK_BYTES, download
from grounded_labeler.weights.model import Model
from tests.helpers.terminal import Terminal
from tests.helpers.weights_server import (
    CONTENT,
    HALF,
    Source,
    change_a_byte,
    closed_address,
    serving,
    small_model,
    sum_of,
)

NO_WAITS = (0.0, 0.0)


@pytest.fixture
def source() -> Iterator[Source]:
    with serving() as server:
        yield server


@pytest.fixture
def model(source: Source) -> Model:
    return small_model(source.url)


def _refusal(model: Model, model_dir: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        download(model, model_dir, waits=NO_WAITS)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _put_part(model_dir: Path, content: bytes) -> Path:
    part = model_dir / "small" / "small.pt.part"
    part.parent.mkdir()
    part.write_bytes(content)
    return part


def _assert_complete(model_dir: Path) -> None:
    assert (model_dir / "small" / "small.pt").read_bytes() == CONTENT
    assert not (model_dir / "small" / "small.pt.part").exists()


def test_downloads_with_the_licence_named(
    model: Model, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(model, tmp_path)
    _assert_complete(tmp_path)
    assert source.asked == [None]
    assert "licence Apache-2.0, from https://example.org/small" in capsys.readouterr().out


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "log"])
def test_a_bar_moves_on_a_terminal_alone(
    stream: io.StringIO, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    download(model, tmp_path)
    drawn = stream.getvalue()
    if stream.isatty():
        assert "small.pt" in drawn
        assert "614.4/614.4 kB" in drawn
    else:
        assert drawn == ""


def test_brings_what_the_model_shares_with_others(model: Model, tmp_path: Path) -> None:
    whole = Model("whole", "sam", "https://example.org", "Apache-2.0", shared=(model,))
    assert missing_files(whole, tmp_path) == [tmp_path / "small" / "small.pt"]
    download(whole, tmp_path)
    assert missing_files(whole, tmp_path) == []
    verify(whole, tmp_path)


def test_second_run_asks_the_network_for_nothing(
    model: Model, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(model, tmp_path)
    capsys.readouterr()
    download(model, tmp_path)
    assert len(source.asked) == 1
    assert f"{tmp_path}/small/small.pt: already there\n" in capsys.readouterr().out


def test_resumes_where_it_stopped(model: Model, source: Source, tmp_path: Path) -> None:
    _put_part(tmp_path, CONTENT[:1000])
    download(model, tmp_path)
    _assert_complete(tmp_path)
    assert source.asked == ["bytes=1000-"]
    assert source.sent == len(CONTENT) - 1000


def test_a_complete_part_needs_no_request(model: Model, source: Source, tmp_path: Path) -> None:
    _put_part(tmp_path, CONTENT)
    download(model, tmp_path)
    _assert_complete(tmp_path)
    assert source.asked == []


def test_starts_over_when_the_server_ignores_ranges(
    model: Model, source: Source, tmp_path: Path
) -> None:
    source.ranges = False
    _put_part(tmp_path, b"x" * 1000)
    download(model, tmp_path)
    _assert_complete(tmp_path)
    assert source.asked == ["bytes=1000-"]


def test_starts_over_when_the_range_is_refused(
    model: Model, source: Source, tmp_path: Path
) -> None:
    source.statuses = [416]
    _put_part(tmp_path, CONTENT[:1000])
    download(model, tmp_path, waits=NO_WAITS)
    _assert_complete(tmp_path)
    assert source.asked == ["bytes=1000-", None]


def test_starts_over_when_the_part_is_larger_than_the_file(
    model: Model, source: Source, tmp_path: Path
) -> None:
    _put_part(tmp_path, CONTENT + b"x")
    download(model, tmp_path)
    _assert_complete(tmp_path)
    assert source.asked == [None]


@pytest.mark.parametrize("states_length", [True, False])
def test_goes_on_after_cut_connections(
    model: Model, source: Source, tmp_path: Path, states_length: bool
) -> None:
    source.states_length = states_length
    source.cuts = [CHUNK_BYTES + 1000] * 5  # more cuts than tries: each one brought something
    download(model, tmp_path, waits=NO_WAITS)
    _assert_complete(tmp_path)
    starts = [int(asked[len("bytes=") : -1]) for asked in source.asked if asked]
    assert len(starts) == 5
    assert all(before < after for before, after in pairwise([0, *starts]))
    assert source.sent <= len(CONTENT) + 5 * CHUNK_BYTES


def test_gives_up_when_nothing_more_comes(model: Model, source: Source, tmp_path: Path) -> None:
    source.cuts = [HALF] + [0] * 9
    message = _refusal(model, tmp_path)
    here = (tmp_path / "small" / "small.pt.part").stat().st_size
    assert HALF - CHUNK_BYTES < here <= HALF
    assert f"({here} of {len(CONTENT)} bytes are here)" in message
    assert len(source.asked) == 1 + len(NO_WAITS)
    source.cuts = []
    download(model, tmp_path)
    assert source.asked[-1] == f"bytes={here}-"
    _assert_complete(tmp_path)


def test_tries_again_while_the_server_is_busy(model: Model, source: Source, tmp_path: Path) -> None:
    source.statuses = [500, 503]
    download(model, tmp_path, waits=NO_WAITS)
    _assert_complete(tmp_path)


def test_does_not_try_again_what_is_not_there(model: Model, source: Source, tmp_path: Path) -> None:
    source.statuses = [404]
    message = _refusal(model, tmp_path)
    assert f"{source.url}/small.pt answered with HTTP status 404" in message
    assert len(source.asked) == 1


def test_refuses_a_corrupted_file(model: Model, source: Source, tmp_path: Path) -> None:
    source.body = CONTENT[:HALF] + b"\xff" + CONTENT[HALF + 1 :]
    message = _refusal(model, tmp_path)
    assert "small.pt" in message
    assert sum_of(source.body) in message
    assert sum_of(CONTENT) in message
    left = {path.name for path in (tmp_path / "small").iterdir()}
    assert left == {".lock"}


def test_a_damaged_part_costs_one_run_only(model: Model, source: Source, tmp_path: Path) -> None:
    _put_part(tmp_path, b"x" * 1000)
    assert "is not what was published" in _refusal(model, tmp_path)
    download(model, tmp_path)
    _assert_complete(tmp_path)


@pytest.mark.parametrize("body", [CONTENT[:-1], CONTENT + b"x", b"<html>log in</html>"])
def test_refuses_another_size_before_reading_it(
    model: Model, source: Source, tmp_path: Path, body: bytes
) -> None:
    source.body, source.ranges = body, False
    part = _put_part(tmp_path, CONTENT[:1000])
    message = _refusal(model, tmp_path)
    assert f"small.pt has {len(CONTENT)} bytes" in message
    assert f"sends {len(body)}:" in message
    assert part.read_bytes() == CONTENT[:1000], "what came earlier is still good"


def test_stops_a_body_without_end(model: Model, source: Source, tmp_path: Path) -> None:
    source.body, source.states_length = CONTENT * 40, False
    assert "sends more" in _refusal(model, tmp_path)
    assert not (tmp_path / "small" / "small.pt.part").exists()


def test_offline_is_one_sentence(tmp_path: Path) -> None:
    message = _refusal(small_model(closed_address()), tmp_path)
    assert f"small.pt was not downloaded (0 of {len(CONTENT)} bytes are here)" in message
    assert "cannot be reached" in message
    assert "`make demo` needs no connection" in message


def test_replaces_a_damaged_file(model: Model, source: Source, tmp_path: Path) -> None:
    download(model, tmp_path)
    change_a_byte(tmp_path / "small" / "small.pt")
    download(model, tmp_path)
    _assert_complete(tmp_path)
    verify(model, tmp_path)


def test_full_disk_is_one_sentence(model: Model, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "small.pt.part").symlink_to("/dev/full")
    message = _refusal(model, tmp_path)
    assert f"Cannot use {tmp_path}/small: No space left on device" in message


def test_unusable_folder_is_one_sentence(model: Model, source: Source, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, not a folder")
    message = _refusal(model, tmp_path / "models")
    assert f"Cannot use {tmp_path}/models/small: Not a directory" in message
    assert source.asked == []


def test_two_downloads_at_once_fetch_it_once(
    model: Model, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The lock belongs to the opened file, so threads wait for it as processes do.
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(download, model, tmp_path) for _ in range(2)]
    assert [run.exception() for run in runs] == [None, None]
    assert source.asked == [None]
    assert "already there" in capsys.readouterr().out
    _assert_complete(tmp_path)


def test_waits_for_another_download(
    model: Model, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small").mkdir()
    with (tmp_path / "small" / ".lock").open("a") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        run = pool.submit(download, model, tmp_path)
        with pytest.raises(TimeoutError):
            run.result(timeout=0.2)
        assert source.asked == []
        fcntl.flock(other, fcntl.LOCK_UN)
        run.result(timeout=60)
    assert "waiting for another download" in capsys.readouterr().out
    _assert_complete(tmp_path)
