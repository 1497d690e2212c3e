"""A dataset is written whole, every few minutes and at any end, and replaces nothing of others."""

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from grounded_labeler.core.types import Label
from grounded_labeler.errors import SettingsError
from grounded_labeler.label_studio.queries import Query, default_queries
from grounded_labeler.preannotate.dataset import Dataset, check_replaceable
from grounded_labeler.preannotate.exporters.coco import MADE_BY, write_coco
from grounded_labeler.preannotate.image_folder import Folder
from grounded_labeler.preannotate.journal import Journal
from grounded_labeler.preannotate.plan import folder_config
from grounded_labeler.settings import Settings
from tests.helpers.models import DEFAULT
from tests.preannotate.outcomes import FAILED, task_result


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    names = ("a.jpg", "b.jpg", "c.jpg")
    return Folder((tmp_path,), {name: tmp_path / name for name in names})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "journal.sqlite3", ("{}", ""), "v")) as journal:
        yield journal


def queries(prompt: str = "car . red bus -> bus . wheel . -toy") -> list[Query]:
    config = folder_config([Label("car"), Label("bus")])
    return default_queries(config, Settings.from_env({}), DEFAULT, lambda _: None, prompt=prompt)


@pytest.fixture
def dataset(tmp_path: Path, folder: Folder, journal: Journal, clock: Clock) -> Dataset:
    path = tmp_path / "out" / "coco.json"
    return Dataset(path, folder, folder.tasks, queries(), journal, export=write_coco, clock=clock)


def read(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((path / "out" / "coco.json").read_text())
    return made


def test_every_few_minutes_there_is_what_there_is(
    dataset: Dataset, journal: Journal, tmp_path: Path, clock: Clock
) -> None:
    made = tmp_path / "out" / "coco.json"
    journal.add([("b.jpg", "x", task_result("car"))])
    dataset.grow()
    assert not made.exists()
    clock.now += 179
    dataset.grow()
    assert not made.exists()
    clock.now += 2
    dataset.grow()
    assert [one["file_name"] for one in read(tmp_path)["images"]] == ["b.jpg"]
    journal.add([("a.jpg", "x", task_result())])
    clock.now += 100
    dataset.grow()
    assert len(read(tmp_path)["images"]) == 1
    dataset.write_news()  # as when it is ended now
    assert [one["file_name"] for one in read(tmp_path)["images"]] == ["a.jpg", "b.jpg"]
    assert [one.name for one in made.parent.iterdir()] == ["coco.json"]


def test_writing_takes_a_tenth_of_the_time_at_most(
    tmp_path: Path, folder: Folder, journal: Journal, clock: Clock
) -> None:
    written = []

    def slow(path: Path, *_: object) -> None:
        clock.now += 60
        written.append(clock.now)
        path.touch()

    path = tmp_path / "coco.json"
    dataset = Dataset(path, folder, folder.tasks, queries(), journal, export=slow, clock=clock)
    for _ in range(100):
        clock.now += 30
        dataset.grow()
    assert 3 <= len(written) <= 6
    assert min(b - a for a, b in pairwise(written)) >= 600


def test_without_news_an_end_writes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    dataset.write_news()
    assert not (tmp_path / "out" / "coco.json").exists()


def test_numbers_are_those_of_earlier_runs_and_categories_depend_on_what_is_asked_alone(
    dataset: Dataset, journal: Journal, tmp_path: Path, folder: Folder
) -> None:
    journal.add([("c.jpg", "x", task_result("wheel"))])
    dataset.write()
    made = read(tmp_path)
    assert made["images"] == [{"id": 3, "file_name": "c.jpg", "width": 200, "height": 100}]
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}, {"id": 3, "name": "wheel"}]
    assert made["categories"] == categories
    folder.paths["0.jpg"] = tmp_path / "0.jpg"
    later = Folder(folder.folders, folder.paths)
    path = tmp_path / "out" / "coco.json"
    again = Dataset(path, later, later.tasks, queries(), journal, export=write_coco)
    journal.add([("0.jpg", "x", task_result("car")), ("a.jpg", "x", task_result("bus", "car"))])
    again.write()
    made = read(tmp_path)
    assert {one["file_name"]: one["id"] for one in made["images"]} == {
        "a.jpg": 1, "c.jpg": 3, "0.jpg": 4
    }  # fmt: skip
    assert made["categories"] == categories
    found_there = [(one["image_id"], one["category_id"]) for one in made["annotations"]]
    assert found_there == [(1, 2), (1, 1), (3, 3), (4, 1)]


def test_a_box_without_a_mask_has_an_empty_segmentation(
    dataset: Dataset, journal: Journal, tmp_path: Path
) -> None:
    journal.add([("a.jpg", "x", task_result("car")), ("b.jpg", "x", task_result())])
    dataset.write()
    coco = COCO(tmp_path / "out" / "coco.json")
    [one] = coco.anns.values()
    assert one["segmentation"] == []
    assert one["bbox"] == [20.0, 10.0, 100.0, 50.0]
    assert one["area"] == 5000.0
    assert len(coco.imgs) == 2


def test_an_image_that_failed_is_not_in_it(
    dataset: Dataset, journal: Journal, tmp_path: Path
) -> None:
    journal.add([("a.jpg", None, FAILED), ("b.jpg", "x", task_result())])
    dataset.write()
    assert [one["file_name"] for one in read(tmp_path)["images"]] == ["b.jpg"]


def test_what_was_there_stays_when_it_cannot_be_written(
    dataset: Dataset, journal: Journal, tmp_path: Path, monkeypatch: Any
) -> None:
    dataset.write()
    before = read(tmp_path)
    journal.add([("a.jpg", "x", task_result("car"))])

    def full(path: Path, text: str, **_: object) -> int:
        path.open("w").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SettingsError, match=r"cannot be written: .*No space left"):
        dataset.write()
    assert read(tmp_path) == before
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["coco.json"]


def test_a_link_stays_a_link(
    tmp_path: Path, folder: Folder, journal: Journal, dataset: Dataset
) -> None:
    dataset.write()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "out" / "coco.json")
    journal.add([("a.jpg", "x", task_result("car"))])
    Dataset(link, folder, folder.tasks, queries(), journal, export=write_coco).write()
    assert link.is_symlink()
    assert len(read(tmp_path)["images"]) == 1


@pytest.mark.parametrize(
    ("content", "free"),
    [
        (None, True),
        (b"", True),
        (json.dumps({"info": {"description": MADE_BY}}).encode(), True),
        (json.dumps({"info": {"description": MADE_BY}}, indent=4).encode(), True),
        (b'{"images": [], "annotations": []}', False),
    ],
)
def test_only_what_this_command_made_is_replaced(
    tmp_path: Path, content: bytes | None, free: bool
) -> None:
    path = tmp_path / "coco.json"
    if content is not None:
        path.write_bytes(content)
    if free:
        check_replaceable(path)
        return
    with pytest.raises(SettingsError, match="was not made by this command"):
        check_replaceable(path)
    assert path.read_bytes() == content


def test_a_folder_is_no_place_for_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        check_replaceable(tmp_path)
