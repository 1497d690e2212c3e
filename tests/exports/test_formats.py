"""Every form is read back by somebody else's reader."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import supervision as sv
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface.interface import LabelInterface
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_tools
from pycocotools.coco import COCO

from grounded_labeler.core.rotated import RotatedBox
from grounded_labeler.errors import ExportError
from grounded_labeler.exports.formats import FORMS
from grounded_labeler.exports.label_maps import palette
from grounded_labeler.exports.types import ExportImage, PlacedDataset
from tests.exports.making import (
    SIZE_HW,
    box_of,
    frame,
    image_of,
    mask_of,
    placed,
    png,
    turned_of,
    two_parts,
)

HEIGHT, WIDTH = SIZE_HW
RED, OWL = "rotes Auto 'x' <&>", "フクロウ 🦉"
TURNED = turned_of(OWL, (60.0, 40.0, 50.0, 20.0), 30.0, score=0.75)


@pytest.fixture
def dataset() -> PlacedDataset:
    """Masks with a hole and in parts, a box, a turned box, and an image without anything."""
    return placed(
        [
            ("train", image_of("ü_1.png", mask_of(RED, frame(), 0.9), mask_of(OWL, two_parts()))),
            ("train", image_of("b.png", box_of(OWL, 10.0, 20.0, 31.0, 52.0, score=0.5), TURNED)),
            ("val", image_of("empty.png")),
        ],
        RED,
        OWL,
        "never seen",
        splits=("train", "val"),
    )


def write(name: str, dataset: PlacedDataset, folder: Path) -> Path:
    """Write the dataset in the form of this name, with its images."""
    form, top = FORMS[name], folder / name
    for one in dataset.images:
        below = top / form.images(one.split)
        below.mkdir(parents=True, exist_ok=True)
        (below / one.file_name).write_bytes(png(one.image.size_hw))
    top.mkdir(exist_ok=True)
    form.write(top, dataset)
    return top


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def filled(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The pixels inside, as pycocotools fills a polygon."""
    merged = coco_tools.merge(coco_tools.frPyObjects([points.ravel().tolist()], HEIGHT, WIDTH))
    return np.asarray(coco_tools.decode(merged)) > 0


def test_coco_by_pycocotools(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("coco", dataset, tmp_path)
    train = COCO(top / "annotations" / "instances_train.json")
    assert [one["name"] for one in train.loadCats(train.getCatIds())] == [RED, OWL, "never seen"]
    assert [one["file_name"] for one in train.loadImgs(train.getImgIds())] == ["ü_1.png", "b.png"]
    first, second, box, turned = train.loadAnns(train.getAnnIds())
    assert (train.annToMask(first) == frame()).all()
    assert (train.annToMask(second) == two_parts()).all()
    assert (first["score"], first["area"], first["iscrowd"]) == (0.9, frame().sum(), 0)
    assert "score" not in second
    assert box["bbox"] == [10, 20, 21, 32]
    assert box["segmentation"] == []
    assert turned["rotated_bbox"] == [60, 40, 50, 20, 30]
    val = COCO(top / "annotations" / "instances_val.json")
    assert (len(val.getImgIds()), val.getAnnIds()) == (1, [])


def test_coco_by_supervision(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("coco", dataset, tmp_path)
    read = sv.DetectionDataset.from_coco(
        str(top / "images" / "train"),
        str(top / "annotations" / "instances_train.json"),
        force_masks=True,
    )
    assert read.classes == [RED, OWL, "never seen"]
    masked = read.annotations[str(top / "images" / "train" / "ü_1.png")]
    assert masked.class_id.tolist() == [0, 1]
    assert (masked.mask == np.stack([frame(), two_parts()])).all()


def read_yolo(top: Path, split: str, **options: bool) -> sv.DetectionDataset:
    return sv.DetectionDataset.from_yolo(
        str(top / "images" / split),
        str(top / "labels" / split),
        str(top / "data.yaml"),
        **options,
    )


def test_yolo_by_supervision(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("yolo", dataset, tmp_path)
    read = read_yolo(top, "train")
    assert read.classes == [RED, OWL, "never seen"]
    boxes = read.annotations[str(top / "images" / "train" / "b.png")]
    assert boxes.class_id.tolist() == [1, 1]
    expected = [one.box for one in dataset.images[1].image.objects]
    assert boxes.xyxy == pytest.approx(np.stack(expected), abs=0.01)
    masked = read.annotations[str(top / "images" / "train" / "ü_1.png")]
    assert masked.xyxy == pytest.approx(np.array([[20, 10, 70, 50], [5, 55, 120, 80]]), abs=0.01)


def test_an_empty_image_has_an_empty_text(dataset: PlacedDataset, tmp_path: Path) -> None:
    for name in ("yolo", "yolo-seg", "yolo-obb"):
        top = write(name, dataset, tmp_path)
        assert (top / "labels" / "val" / "empty.txt").read_bytes() == b""


def test_yolo_trains_and_validates_on_the_same_without_a_split(tmp_path: Path) -> None:
    top = write("yolo", placed([("train", image_of("a.png"))]), tmp_path)
    lines = (top / "data.yaml").read_text().splitlines()
    assert lines[1:] == ["train: images/train", "val: images/train", "nc: 0", "names: []"]


def test_yolo_seg_keeps_holes_and_parts(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("yolo-seg", dataset, tmp_path)
    for line, mask in zip(
        (top / "labels" / "train" / "ü_1.txt").read_text().splitlines(),
        (frame(), two_parts()),
        strict=True,
    ):
        points = np.array(line.split()[1:], np.float64).reshape(-1, 2) * (WIDTH, HEIGHT)
        assert iou(filled(points), mask) == 1


def test_yolo_seg_by_supervision(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("yolo-seg", dataset, tmp_path)
    read = read_yolo(top, "train", force_masks=True)
    masked = read.annotations[str(top / "images" / "train" / "ü_1.png")]
    assert masked.class_id.tolist() == [0, 1]
    # Its reader also draws the pixels that edges and cuts touch.
    for got, mask in zip(masked.mask, (frame(), two_parts()), strict=True):
        assert got[mask].all()
        assert iou(got, mask) > 0.85
    assert not masked.mask[0][22:38, 34:56].any()  # the hole
    boxes = read.annotations[str(top / "images" / "train" / "b.png")]
    corners = TURNED.rotated.corners() if TURNED.rotated else np.zeros((0, 2))
    assert iou(boxes.mask[1], filled(corners)) > 0.9


def test_yolo_obb_by_supervision(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("yolo-obb", dataset, tmp_path)
    read = read_yolo(top, "train", is_obb=True)
    boxes = read.annotations[str(top / "images" / "train" / "b.png")]
    upright, turned = boxes.data["xyxyxyxy"]
    assert upright == pytest.approx(np.array([[10, 20], [31, 20], [31, 52], [10, 52]]), abs=0.01)
    assert TURNED.rotated is not None
    assert turned == pytest.approx(TURNED.rotated.corners(), abs=0.01)


def test_yolo_obb_takes_the_smallest_box_around_a_mask(tmp_path: Path) -> None:
    box = RotatedBox(60, 40, 70, 40, 30)
    images = [("train", image_of("a.png", mask_of("x", filled(box.corners()))))]
    top = write("yolo-obb", placed(images, "x"), tmp_path)
    [line] = (top / "labels" / "train" / "a.txt").read_text().splitlines()
    points = np.array(line.split()[1:], np.float64).reshape(-1, 2) * (WIDTH, HEIGHT)
    # Whole pixels lie inside: it is up to one larger on each side.
    assert iou(filled(points), filled(box.corners())) > 0.9


def test_no_coordinate_of_yolo_lies_outside(tmp_path: Path) -> None:
    turned = turned_of("x", (115.0, 5.0, 40.0, 20.0), 45.0)
    top = write("yolo-obb", placed([("train", image_of("a.png", turned))], "x"), tmp_path)
    [line] = (top / "labels" / "train" / "a.txt").read_text().splitlines()
    shares = np.array(line.split()[1:], np.float64)
    assert shares.min() == 0
    assert shares.max() == 1


def test_voc_by_supervision(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("voc", dataset, tmp_path)
    read = sv.DetectionDataset.from_pascal_voc(str(top / "JPEGImages"), str(top / "Annotations"))
    boxes = read.annotations[str(top / "JPEGImages" / "b.png")]
    assert [read.classes[number] for number in boxes.class_id] == [OWL, OWL]
    expected = np.stack([one.box for one in dataset.images[1].image.objects])
    assert boxes.xyxy[0].tolist() == [10, 20, 31, 52]
    assert boxes.xyxy == pytest.approx(expected, abs=0.51)
    masked = read.annotations[str(top / "JPEGImages" / "ü_1.png")]
    assert [read.classes[number] for number in masked.class_id] == [RED, OWL]
    assert masked.xyxy.tolist() == [[20, 10, 70, 50], [5, 55, 120, 80]]
    assert len(read.annotations[str(top / "JPEGImages" / "empty.png")]) == 0


def test_voc_lists_its_images_and_draws_its_masks(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("voc", dataset, tmp_path)
    lists = {path.name: path.read_text() for path in (top / "ImageSets" / "Main").iterdir()}
    assert lists == {
        "train.txt": "ü_1\nb\n", "val.txt": "empty\n", "trainval.txt": "ü_1\nb\nempty\n",
    }  # fmt: skip
    for folder in ("SegmentationClass", "SegmentationObject"):
        with Image.open(top / folder / "ü_1.png") as image:
            pixels = np.asarray(image)
            assert image.mode == "P"
        assert ((pixels == 1) == frame()).all()
        assert ((pixels == 2) == two_parts()).all()
    root = ET.parse(top / "Annotations" / "ü_1.xml").getroot()
    assert [one.text for one in root.iter("truncated")] == ["0", "1"]
    assert root.findtext("size/width") == str(WIDTH)


def test_voc_without_masks_has_boxes_alone(tmp_path: Path) -> None:
    images = [("train", image_of("a.png", box_of("x", 1, 2, 3, 4)))]
    top = write("voc", placed(images, "x"), tmp_path)
    assert not (top / "SegmentationClass").exists()
    assert [path.name for path in (top / "ImageSets").iterdir()] == ["Main"]


def cvat_mask(element: ET.Element, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask as CVAT's page on its XML has it: lengths of runs of 0 and 1, row by row."""
    left, top, width, height = (
        int(element.attrib[name]) for name in ("left", "top", "width", "height")
    )
    runs = [int(run) for run in element.attrib["rle"].split(",")]
    bits = [bit for number, run in enumerate(runs) for bit in [number % 2] * run]
    full = np.zeros(size_hw, np.bool_)
    full[top : top + height, left : left + width] = np.array(bits).reshape(height, width) > 0
    return full


def test_cvat_by_its_own_description(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("cvat", dataset, tmp_path)
    root = ET.parse(top / "train.xml").getroot()
    assert [one.text for one in root.iterfind("meta/task/labels/label/name")] == [
        RED, OWL, "never seen",
    ]  # fmt: skip
    first, second = root.iterfind("image")
    assert [(one.attrib["name"], one.attrib["subset"]) for one in (first, second)] == [
        ("ü_1.png", "train"), ("b.png", "train"),
    ]  # fmt: skip
    [empty] = ET.parse(top / "val.xml").getroot().iterfind("image")
    assert (empty.attrib["name"], len(empty)) == ("empty.png", 0)
    assert [one.attrib["label"] for one in first] == [RED, OWL]
    assert [one.attrib["source"] for one in first] == ["auto", "manual"]
    for element, mask in zip(first, (frame(), two_parts()), strict=True):
        assert (cvat_mask(element, SIZE_HW) == mask).all()
    box, turned = second
    corners = [float(box.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr")]
    assert corners == [10, 20, 31, 52]
    corners = [float(turned.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr")]
    assert corners == [35, 30, 85, 50]
    assert turned.attrib["rotation"] == "30.00"


def special_masks() -> list[NDArray[np.bool_]]:
    """The whole image, its corners, a row, a column, and noise."""
    whole = np.ones(SIZE_HW, np.bool_)
    corners = np.zeros(SIZE_HW, np.bool_)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    row, column = np.zeros(SIZE_HW, np.bool_), np.zeros(SIZE_HW, np.bool_)
    row[-1], column[:, 0] = True, True
    noise = np.random.default_rng(0).random(SIZE_HW) < 0.5
    return [whole, corners, row, column, noise]


@pytest.mark.parametrize(
    "mask", special_masks(), ids=["whole", "corners", "row", "column", "noise"]
)
def test_every_pixel_of_a_mask_comes_back(mask: NDArray[np.bool_], tmp_path: Path) -> None:
    dataset = placed([("train", image_of("a.png", mask_of("x", mask)))], "x")
    top = write("coco", dataset, tmp_path)
    coco = COCO(top / "annotations" / "instances_train.json")
    assert (coco.annToMask(coco.anns[1]) == mask).all()
    [element] = ET.parse(write("cvat", dataset, tmp_path) / "train.xml").getroot().iter("mask")
    assert (cvat_mask(element, SIZE_HW) == mask).all()
    [task] = json.loads((write("label-studio", dataset, tmp_path) / "tasks.json").read_text())
    rle = task["annotations"][0]["result"][0]["value"]["rle"]
    assert ((decode_rle(rle).reshape(HEIGHT, WIDTH, 4)[..., 3] > 0) == mask).all()
    with Image.open(write("png", dataset, tmp_path) / "masks" / "train" / "a.png") as image:
        assert ((np.asarray(image) == 1) == mask).all()


def test_label_studio_by_its_sdk(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("label-studio", dataset, tmp_path)
    interface = LabelInterface((top / "label_config.xml").read_text())
    tasks = json.loads((top / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=images/%C3%BC_1.png",
        "/data/local-files/?d=images/b.png",
        "/data/local-files/?d=images/empty.png",
    ]
    for task in tasks:
        assert task["data"].keys() >= {"image", "source", "split"}
        for made in task.get("predictions", ()):
            assert interface.validate_prediction(made)  # type: ignore[no-untyped-call]
        for made in task.get("annotations", ()):
            assert interface.validate_annotation(made)  # type: ignore[no-untyped-call]
    [drawn] = tasks[0]["annotations"]  # one of its objects has no score: a person drew it
    for region, mask in zip(drawn["result"], (frame(), two_parts()), strict=True):
        opacity = decode_rle(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[..., 3]
        assert ((opacity > 0) == mask).all()
    [found] = tasks[1]["predictions"]
    assert [region["score"] for region in found["result"]] == [0.5, 0.75]
    value = found["result"][1]["value"]
    assert value["rectanglelabels"] == [OWL]
    assert TURNED.rotated is not None
    corner = np.array([value["x"] * WIDTH, value["y"] * HEIGHT]) / 100
    assert corner == pytest.approx(TURNED.rotated.corners()[0], abs=0.01)
    assert (value["width"] * WIDTH / 100, value["rotation"]) == (pytest.approx(50, abs=0.01), 30)
    assert tasks[2]["predictions"] == [{"model_version": "grounded-labeler", "result": []}]


def test_names_of_bytes_that_are_no_text_in_label_studio(tmp_path: Path) -> None:
    one = box_of("Car", 10, 20, 50, 60, score=0.5)
    image = image_of("bad\udcff.png", one, group="near-duplicates-of-bad\udcff.png")
    top = write("label-studio", placed([("train", image)], "Car"), tmp_path)
    [task] = json.loads((top / "tasks.json").read_text())
    assert task["data"]["group"] == r"near-duplicates-of-bad\udcff.png"
    assert task["data"]["source"] == r"bad\xff.png"


def test_an_annotated_image_stays_one_in_label_studio(tmp_path: Path) -> None:
    one = image_of("a.png", box_of("x", 1, 2, 30, 40, score=0.5))
    annotated = ExportImage(
        one.name, one.size_hw, one.objects, "burst", one.read,
        address="s3://bucket/a.png", is_annotated=True,
    )  # fmt: skip
    top = write("label-studio", placed([("train", annotated)], "x"), tmp_path)
    [task] = json.loads((top / "tasks.json").read_text())
    assert task["data"]["image"] == "s3://bucket/a.png"
    assert task["data"]["group"] == "burst"
    assert len(task["annotations"]) == 1


def test_png_by_pillow(dataset: PlacedDataset, tmp_path: Path) -> None:
    top = write("png", dataset, tmp_path)
    assert (top / "classes.txt").read_text().splitlines() == ["background", RED, OWL, "never seen"]
    for kind in ("masks", "instances"):
        with Image.open(top / kind / "train" / "ü_1.png") as image:
            pixels = np.asarray(image)
            assert (image.getpalette() or [])[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        assert ((pixels == 1) == frame()).all()
        assert ((pixels == 2) == two_parts()).all()
    with Image.open(top / "masks" / "val" / "empty.png") as image:
        assert not np.asarray(image).any()
    with Image.open(top / "masks" / "train" / "b.png") as image:
        pixels = np.asarray(image)
    assert (pixels[20:52, 10:31] == 255).all()  # a box without a mask: nobody knows
    assert set(np.unique(pixels).tolist()) == {0, 255}


def test_smaller_objects_lie_on_top(tmp_path: Path) -> None:
    large, small = np.ones(SIZE_HW, np.bool_), np.zeros(SIZE_HW, np.bool_)
    small[5:10, 5:10] = True
    objects = [mask_of("small", small), mask_of("large", large), mask_of("same", small)]
    top = write(
        "png", placed([("train", image_of("a.png", *objects))], "small", "large", "same"), tmp_path
    )
    with Image.open(top / "masks" / "train" / "a.png") as image:
        pixels = np.asarray(image)
    assert (pixels[small] == 1).all()
    assert (pixels[~small] == 2).all()


def test_more_classes_than_8_bits_hold_are_written_with_16(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(300)]
    dataset = placed([("train", image_of("a.png", mask_of(names[299], frame())))], *names)
    top = write("png", dataset, tmp_path)
    with Image.open(top / "masks" / "train" / "a.png") as image:
        assert ((np.asarray(image) == 300) == frame()).all()
    with pytest.raises(ExportError, match="254 classes"):
        write("voc", dataset, tmp_path)


def test_png_of_boxes_alone_is_refused(tmp_path: Path) -> None:
    images = [("train", image_of("a.png", box_of("x", 1, 2, 3, 4)))]
    with pytest.raises(ExportError, match="No object has a mask"):
        write("png", placed(images, "x"), tmp_path)


def test_the_palette_is_that_of_pascal_voc() -> None:
    shown = palette()[[1, 2, 3, 8, 15, 20, 255]].tolist()
    assert shown == [
        [128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0], [192, 128, 128], [0, 64, 128],
        [224, 224, 192],
    ]  # fmt: skip


def test_without_image_files_names_are_those_of_the_source(tmp_path: Path) -> None:
    image = image_of("sub folder/a.png", box_of("x", 1, 2, 3, 4))
    with_files = placed([("train", image)], "x")
    [one] = with_files.images
    dataset = PlacedDataset(
        (type(one)(1, "sub_folder_a.png", "train", image),), ("x",), ("train",), has_files=False
    )
    for name in ("coco", "cvat", "label-studio"):
        (tmp_path / name).mkdir()
        FORMS[name].write(tmp_path / name, dataset)
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    assert coco["images"][0]["file_name"] == "sub folder/a.png"
    assert 'name="sub folder/a.png"' in (tmp_path / "cvat/train.xml").read_text()
    [task] = json.loads((tmp_path / "label-studio/tasks.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=sub%20folder/a.png"
