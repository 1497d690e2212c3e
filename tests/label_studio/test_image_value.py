"""What an <Image> tag shows is found in a task's data as Label Studio's editor finds it."""

from typing import Any

import pytest

from grounded_labeler.errors import NoImage
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.image_value import ImageValue

DATA: dict[str, Any] = {
    "image": "a.jpg",
    "images": ["0.jpg", "1.jpg"],
    "pages": [{"url": "p0.jpg"}, {"url": "p1.jpg", "of": {"it": "deep.jpg"}}],
    "meta": {"image": "m.jpg", "0": "zero.jpg"},
    "meta.image": "dotted.jpg",
    "base": "http://host/folder",
    "name": "x.jpg",
    "number": 7,
    "half": 0.5,
    "whole": 3.0,
    "my-image": "dash.jpg",
    "bild äöü": "space.jpg",
    "größe": "umlaut.jpg",
    "grid": [["00.jpg", "01.jpg"]],
}


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("$image", "a.jpg"),
        ("$images[0]", "0.jpg"),
        ("$images[1]", "1.jpg"),
        ("$images.1", "1.jpg"),
        ("$pages[0].url", "p0.jpg"),
        ("$pages[1].of.it", "deep.jpg"),
        ("$pages.1.of[it]", "deep.jpg"),
        ("$grid[0][1]", "01.jpg"),
        ("$meta[0]", "zero.jpg"),
        ("$meta.image", "dotted.jpg"),  # the whole key first, as lodash has it
        ("$base/x.jpg", "http://host/folder/x.jpg"),
        ("$base/$name", "http://host/folder/x.jpg"),
        ("$base/$images[1]?v=$number", "http://host/folder/1.jpg?v=7"),
        ("http://h/$name", "http://h/x.jpg"),
        ("http://h/$meta[0]#$number", "http://h/zero.jpg#7"),
        ("/data/upload/$number/$name", "/data/upload/7/x.jpg"),
        ("http://h/$half-$whole.0", None),
        ("http://h/$half-$whole", "http://h/0.5-3"),
        ("http://h/a.jpg", "http://h/a.jpg"),
        ("/data/upload/1/a.jpg", "/data/upload/1/a.jpg"),
        ("$my-image", "dash.jpg"),
        ("$größe", "umlaut.jpg"),
        ("$images", None),
        ("$images[2]", None),
        ("$images[-1]", None),
        ("$images[01]", None),
        ("$images[9999999999999]", None),
        ("$images.length", None),
        ("$image[0]", None),
        ("$pages[0]", None),
        ("$number", None),
        ("$nothing", None),
        ("$pages[0].nothing", None),
        ("$base/$nothing", None),
        ("$base/$images", None),
        ("$[]", None),
        ("$...", None),
    ],
)
def test_address(value: str, address: str | None) -> None:
    if address is None:
        with pytest.raises(NoImage):
            ImageValue(value).address(DATA)
    else:
        assert ImageValue(value).address(DATA) == address


@pytest.mark.parametrize("empty", ["", None, 0, False, {}, [], ["", "b"]])
def test_what_is_no_address(empty: object) -> None:
    with pytest.raises(NoImage):
        ImageValue("$image").address({"image": empty})


@pytest.mark.parametrize("empty", [None, True, {}, []])
def test_what_becomes_no_part_of_an_address(empty: object) -> None:
    with pytest.raises(NoImage, match=r'cannot fill in "http://h/\$name"'):
        ImageValue("http://h/$name").address({"name": empty})


def test_a_list_is_told_of() -> None:
    with pytest.raises(NoImage, match=r'must say "\$images\[0\]"'):
        ImageValue("$images").address(DATA)


@pytest.mark.parametrize(
    ("value", "is_in"),
    [
        ("$image", True),
        ("$images[7]", True),  # another task may have it
        ("$meta.other", True),
        ("$base/$name", True),
        ("$my-image", True),
        ("http://h/a.jpg", True),
        ("$nothing", False),
        ("$nothing[0].url", False),
        ("$base/$nothing", False),
        ("http://h/$nothing", False),
    ],
)
def test_is_in(value: str, is_in: bool) -> None:
    assert ImageValue(value).is_in(DATA) is is_in


@pytest.mark.parametrize(
    "value",
    ["$image", "$images[0]", "$pages[0].url", "$meta.image", "$base/x.jpg",
              "http://h/$name", "https://h/a.jpg", "$a/$b", "s3://bucket/$name", "/data/$name"]
)  # fmt: skip
def test_a_label_config_may_have_it(value: str) -> None:
    xml = (
        f'<View><Image name="i" value="{value}"/>'
        '<RectangleLabels name="l" toName="i"><Label value="Cat"/></RectangleLabels></View>'
    )
    [target] = read_label_config(xml).images
    assert target.value == ImageValue(value)
