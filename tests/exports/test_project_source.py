"""What people submitted in a project is read as a dataset, against a stand-in of Label Studio."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.coco import coco_mask
from grounded_labeler.core.masks import Mask
from grounded_labeler.errors import ImageError, SettingsError
from grounded_labeler.exports.project_source import read_project
from grounded_labeler.exports.types import ExportDataset, ExportImage, ExportObject
from grounded_labeler.label_studio.brush_rle import encode_rle
from grounded_labeler.label_studio.mask_image import bitmask_url
from grounded_labeler.label_studio_api.annotations import ACCEPTED
from grounded_labeler.settings import Settings
from tests.helpers.asking import BRUSH, IMAGE, LABELS, POLYGONS, PROMPT, RECTANGLES, view
from tests.helpers.drawing import box
from tests.preannotate import label_studio_server as stand_in

WIDTH, HEIGHT = SIZE_WH = (200, 100)
BITMASKS = f'<BitmaskLabels name="bits" toName="image">{LABELS}</BitmaskLabels>'
CONFIG = view(PROMPT, IMAGE, RECTANGLES, BRUSH, POLYGONS, BITMASKS)
UPLOADS = "/data/upload/7"
NAMES = ("Circle", "Square", "Triangle", "Star", "Ring")


@pytest.fixture
def server() -> Iterator[stand_in.Project]:
    with stand_in.serve(stand_in.Project(CONFIG)) as project:
        yield project


def export(server: stand_in.Project, **options: Any) -> ExportDataset:
    environ = {
        "DETECTOR": "demo",
        "SEGMENTER": "none",
        "LABEL_STUDIO_URL": server.url,
        "LABEL_STUDIO_API_KEY": "token",
    }
    return read_project(Settings.from_env(environ), server.number, **({"reviewed": True} | options))


def file(size_wh: tuple[int, int] = SIZE_WH, orientation: int | None = None) -> bytes:
    image, exif = Image.new("RGB", size_wh, "gray"), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    data = io.BytesIO()
    image.save(data, "JPEG", exif=exif)
    return data.getvalue()


def region(kind: str, value: dict[str, Any], label: str | None = "Circle", **other: Any) -> Any:
    labels = {} if label is None else {f"{kind}labels": [label]}
    return {
        "to_name": "image", "from_name": "x", "type": f"{kind}labels", "value": value | labels,
        "original_width": WIDTH, "original_height": HEIGHT, **other,
    }  # fmt: skip


def ring() -> NDArray[np.bool_]:
    """Of a bool (H, W) with a hole."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(xs - 60, ys - 50)
    found: NDArray[np.bool_] = (away <= 40) & (away > 15)
    return found


def brush(full: NDArray[np.bool_], label: str = "Circle", **other: Any) -> Any:
    value = {"format": "rle", "rle": encode_rle(Mask.from_full(full))}
    return region("brush", value, label, **other)


def pixels(one: ExportObject) -> NDArray[np.bool_]:
    assert one.mask is not None
    return coco_mask(one.mask).full()


def by_name(dataset: ExportDataset) -> dict[str, ExportImage]:
    return {image.name: image for image in dataset.images}


def labels(dataset: ExportDataset) -> dict[str, list[str]]:
    return {image.name: [one.label for one in image.objects] for image in dataset.images}


def test_masks_of_every_kind_are_in_the_dataset_as_they_were_drawn(
    server: stand_in.Project,
) -> None:
    whole = ring()
    square = [[60, 10], [90, 10], [90, 90], [60, 90]]
    bits = region("bitmask", {"imageDataURL": bitmask_url(Mask.from_full(whole))}, "Ring")
    task = server.add("/photos/a.jpg")
    server.annotate(
        task, [brush(whole), bits, region("polygon", {"points": square, "closed": True}, "Star")]
    )
    dataset = export(server)
    [image] = dataset.images
    assert (image.name, image.size_hw, image.group) == ("photos/a.jpg", (HEIGHT, WIDTH), "")
    assert image.address == "/photos/a.jpg"
    assert dataset.classes == NAMES
    brushed, bitmasked, polygon = image.objects
    np.testing.assert_array_equal(pixels(brushed), whole)
    np.testing.assert_array_equal(pixels(bitmasked), whole)
    assert pixels(polygon)[10:90, 120:180].mean() > 0.97
    assert polygon.box.tolist() == [120, 10, 180, 90]
    assert [one.label for one in image.objects] == ["Circle", "Ring", "Star"]
    assert all(one.score is None for one in image.objects)
    assert server.fetched == [], "images are read when they are written"


def test_a_box_and_a_mask_of_one_object_are_one_object_and_turned_boxes_stay_turned(
    server: stand_in.Project,
) -> None:
    whole = ring()
    around = region("rectangle", {"x": 10, "y": 10, "width": 40.5, "height": 81})
    turned = region(
        "rectangle", {"x": 80, "y": 20, "width": 10, "height": 20, "rotation": 90}, "Star"
    )
    server.annotate(server.add("/a.jpg"), [brush(whole), around, turned])
    [image] = export(server).images
    ring_of, star = image.objects
    np.testing.assert_array_equal(pixels(ring_of), whole)
    assert ring_of.rotated is None
    assert star.rotated is not None
    assert (star.rotated.width, star.rotated.height, star.rotated.degrees) == (20, 20, 90)
    np.testing.assert_allclose(star.box, [140, 20, 160, 40], atol=1e-3)


def test_the_scores_of_models_stay_and_what_people_drew_comes_first(
    server: stand_in.Project,
) -> None:
    result = [
        box(10, 10, 20, 20, label="Star") | {"score": 0.4},
        box(50, 50, 20, 20, label="Ring") | {"score": 0.7},
        box(70, 10, 20, 20, label="Circle"),
    ]
    server.annotate(server.add("/a.jpg"), result)
    [image] = export(server).images
    found = [(one.label, one.score) for one in image.objects]
    assert found == [("Circle", None), ("Ring", 0.7), ("Star", 0.4)]


def test_what_counts_is_what_a_person_submitted(
    server: stand_in.Project, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {name: [box(10, 10, 20, 20, label=name)] for name in NAMES}
    marked = [box(1, 1, 9, 9, label="Ring") | {"meta": {"text": [f"{ACCEPTED}: precision 0.97"]}}]
    for name in ("newest", "truth", "skipped", "nobody", "accepted", "both"):
        server.add(f"/{name}.jpg")
    server.annotate(1, one["Circle"])
    server.annotate(1, one["Square"])
    server.annotate(2, one["Circle"], ground_truth=True)
    server.annotate(2, one["Square"])
    server.annotate(3, one["Circle"], was_cancelled=True)
    server.predict(4, one["Star"], "demo-1")
    server.drafts.add(4)
    server.annotate(5, marked)
    server.annotate(6, one["Triangle"])
    server.annotate(6, marked)
    people = {"newest.jpg": ["Square"], "truth.jpg": ["Circle"], "both.jpg": ["Triangle"]}
    assert labels(export(server)) == people
    said = "Accepted with nobody looking, and left out without --accepted: 1."
    assert said in capsys.readouterr().out
    assert labels(export(server, accepted=True)) == people | {"accepted.jpg": ["Ring"]}
    assert "--accepted" not in capsys.readouterr().out
    assert labels(export(server, task_ids=[2, 3])) == {"truth.jpg": ["Circle"]}


def test_an_annotated_image_without_an_object_is_in(server: stand_in.Project) -> None:
    """Its size is that of the displayed image: the file is stored on its side."""
    server.annotate(server.add(f"{UPLOADS}/turned.jpg", file((60, 40), orientation=6)), [])
    server.annotate(server.add(f"{UPLOADS}/gone.jpg"), [])
    dataset = export(server)
    [image] = dataset.images
    assert (image.name, image.size_hw, image.objects) == ("upload/7/turned.jpg", (60, 40), ())
    assert image.read() == server.files[f"{UPLOADS}/turned.jpg"]
    [left_out] = dataset.left_out
    assert left_out.name == "upload/7/gone.jpg"
    assert "404" in left_out.reason


def test_what_cannot_be_read_is_listed_and_stops_nothing_else(
    server: stand_in.Project, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = [box(10, 10, 20, 20)]
    damaged = region("brush", {"format": "rle", "rle": [1, 2, 3]})
    server.annotate(server.add("/damaged.jpg"), [*fine, damaged])
    server.annotate(
        server.add("/odd.jpg"),
        [*fine, box(1, 1, 9, 9, label=None), box(None, 1, 9, 9), region("polygon", {})],
    )
    server.tasks.append({"id": 3, "data": {"text": "no image"}})
    server.annotate(3, [])
    server.annotate(server.add("/fine.jpg"), fine)
    dataset = export(server)
    assert labels(dataset) == {"odd.jpg": ["Circle"], "fine.jpg": ["Circle"]}
    reasons = {one.name: one.reason for one in dataset.left_out}
    assert list(reasons) == ["damaged.jpg", "task-3"]
    assert "does not fit the image" in reasons["damaged.jpg"]
    assert reasons["task-3"] == 'Task 3 has no image under the key "image".'
    said = "Regions left out: 1 without a label and 2 that cannot be read, in task(s) 2.\n"
    assert capsys.readouterr().out.endswith(said)


def test_images_are_fetched_when_they_are_written(server: stand_in.Project) -> None:
    server.annotate(server.add(f"{UPLOADS}/a.jpg", file((640, 480))), [box(10, 10, 20, 20)])
    server.annotate(server.add(f"{UPLOADS}/b.jpg"), [box(10, 10, 20, 20)])
    images = by_name(export(server))
    assert server.fetched == []
    assert images["upload/7/a.jpg"].read() == server.files[f"{UPLOADS}/a.jpg"]
    with pytest.raises(ImageError, match="404"):
        images["upload/7/b.jpg"].read()


def test_each_image_of_a_task_has_its_own_objects_and_they_stay_together(
    server: stand_in.Project,
) -> None:
    second = IMAGE.replace("image", "back")
    server.label_config = view(
        IMAGE, second, RECTANGLES, RECTANGLES.replace("label", "other", 1).replace("image", "back")
    )
    for number, own in enumerate([{}, {"group": "burst 3"}], 1):
        data = {"image": f"/f{number}.jpg", "back": f"{UPLOADS}/b{number}.jpg"} | own
        server.tasks.append({"id": number, "data": data})
        server.files[f"{UPLOADS}/b{number}.jpg"] = file()
        server.annotate(number, [box(10, 10, 20, 20, label="Star")])
    dataset = export(server)
    star = ["Star"]
    assert labels(dataset) == {
        "f1.jpg": star, "upload/7/b1.jpg": [], "f2.jpg": star, "upload/7/b2.jpg": [],
    }  # fmt: skip
    groups = [image.group for image in dataset.images]
    assert groups == ["task 1", "task 1", "burst 3", "burst 3"]


def test_labels_of_tasks_and_names_in_any_script(server: stand_in.Project) -> None:
    own = '<RectangleLabels name="own" toName="image" value="$brands"/>'
    server.label_config = view(IMAGE, RECTANGLES, own)
    data = {"image": "/data/local-files/?d=Fotos/%C3%BCber%20uns.jpg", "brands": [{"value": "Öl"}]}
    server.tasks.append({"id": 1, "data": data})
    server.annotate(1, [box(10, 10, 20, 20, label="Öl"), box(50, 10, 20, 20, label="vélo")])
    dataset = export(server)
    assert labels(dataset) == {"Fotos/über uns.jpg": ["Öl", "vélo"]}
    assert dataset.classes == NAMES


def test_a_name_stays_when_other_tasks_are_annotated(server: stand_in.Project) -> None:
    for _ in range(3):
        server.add("/a.jpg")
    server.annotate(2, [box(10, 10, 20, 20)])
    assert list(labels(export(server))) == ["a-task-2.jpg"]
    server.annotate(1, [box(10, 10, 20, 20)])
    assert list(labels(export(server))) == ["a.jpg", "a-task-2.jpg"]


def test_tasks_are_read_page_by_page_and_each_once(server: stand_in.Project) -> None:
    for number in range(120):
        server.annotate(server.add(f"/{number}.jpg"), [box(10, 10, 20, 20)])
    server.tasks.insert(0, server.tasks[-1])  # which moves to another page while they are read
    assert len(export(server).images) == 120
    assert server.pages == [50, 50, 21]


def test_without_an_annotation_there_is_nothing_to_export(server: stand_in.Project) -> None:
    server.predict(server.add("/a.jpg"), [box(10, 10, 20, 20)], "demo-1")
    with pytest.raises(SettingsError, match="no submitted annotation to export in project 7"):
        export(server)
    with pytest.raises(SettingsError, match="--project needs --reviewed"):
        export(server, reviewed=False)
