"""Where the images of published results come from, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.weights.reference_images import ReferenceImages
from grounded_labeler.weights.reference_values import ReferenceImage
from tests.helpers.weights_server import (
    CONTENT,
    Source,
    change_a_byte,
    closed_address,
    serving,
    sum_of,
)


@pytest.fixture
def source() -> Iterator[Source]:
    with serving() as server:
        yield server


def cats(url: str) -> ReferenceImage:
    return ReferenceImage("cats.jpg", f"{url}/cats.jpg", len(CONTENT), sum_of(CONTENT))


def unknown() -> ReferenceImage:
    return ReferenceImage("laptop.jpg", "http://127.0.0.1/laptop.jpg")


def test_an_image_is_fetched_once_and_kept_beside_the_weights(
    source: Source, tmp_path: Path
) -> None:
    path = ReferenceImages(tmp_path).path_of(cats(source.url))
    assert path == tmp_path / "verify" / "cats.jpg"
    assert path.read_bytes() == CONTENT
    assert ReferenceImages(tmp_path, is_offline=True).path_of(cats(source.url)) == path
    assert len(source.asked) == 1


def test_a_kept_image_that_changed_is_fetched_again(source: Source, tmp_path: Path) -> None:
    path = ReferenceImages(tmp_path).path_of(cats(source.url))
    change_a_byte(path)
    assert ReferenceImages(tmp_path).path_of(cats(source.url)).read_bytes() == CONTENT


def test_another_image_at_the_address_is_refused(source: Source, tmp_path: Path) -> None:
    source.body = CONTENT[::-1]
    with pytest.raises(WeightsError, match="is not what was published"):
        ReferenceImages(tmp_path).path_of(cats(source.url))
    assert not list(tmp_path.glob("**/cats.jpg"))


def test_an_image_that_cannot_be_had_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be reached") as caught:
        ReferenceImages(tmp_path, waits=()).path_of(cats(closed_address()))
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="name it with --image"):
        ReferenceImages(tmp_path, is_offline=True).path_of(cats("http://127.0.0.1"))


def test_nothing_is_fetched_for_a_folder_that_cannot_be_written_to(
    source: Source, tmp_path: Path
) -> None:
    (tmp_path / "verify").write_text("no folder")
    with pytest.raises(WeightsError, match="cannot be kept"):
        ReferenceImages(tmp_path).path_of(cats(source.url))


def test_an_image_of_the_user_s_is_known_by_its_sum(source: Source, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(CONTENT)
    images = ReferenceImages(tmp_path, [mine])
    assert images.path_of(cats(source.url)) == mine
    images.check_all_used()
    assert source.asked == []


def test_another_image_of_the_user_s_is_refused(source: Source, tmp_path: Path) -> None:
    mine = tmp_path / "cats.jpg"
    mine.write_bytes(CONTENT[:-1])
    images = ReferenceImages(tmp_path, [mine])
    assert images.path_of(cats(source.url)) != mine
    with pytest.raises(SettingsError, match=f"SHA-256 is {sum_of(CONTENT[:-1])}"):
        images.check_all_used()
    with pytest.raises(SettingsError, match="No such file"):
        ReferenceImages(tmp_path, [tmp_path / "nowhere.jpg"])


def test_an_image_without_a_known_sum_is_never_fetched_and_known_by_its_name(
    tmp_path: Path,
) -> None:
    images = ReferenceImages(tmp_path)
    assert not images.has_given(unknown())
    with pytest.raises(WeightsError, match="name it with --image"):
        images.path_of(unknown())
    mine = tmp_path / "laptop.jpg"
    mine.write_bytes(CONTENT)
    given = ReferenceImages(tmp_path, [mine])
    assert given.has_given(unknown())
    assert given.path_of(unknown()) == mine
