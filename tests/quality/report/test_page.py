"""The page holds all it shows, asks nobody, and escapes what labels and file names hold."""

import re
from html.parser import HTMLParser

import numpy as np

from grounded_labeler.core.types import RGBImage
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.figures import figures_of
from grounded_labeler.quality.measure import Evaluation, measure
from grounded_labeler.quality.report.page import MOST_IMAGES, About, render_evaluation
from tests.quality.faked import random_image, scored_image, truth

ABOUT = About("a folder", "car", "box threshold 0.3", "demo", "v1", 0.05)
HTML = "<script>alert(1)</script>"
BOX = (10.0, 10.0, 60.0, 60.0)


class Outline(HTMLParser):
    """Collects tags and what they refer to; complains about tags that are not closed."""

    _VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        links = {"href", "src", "xlink:href", "action", "srcset", "data"}
        self.links += [value or "" for name, value in attrs if name in links]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def load(task: TaskId, target: str) -> RGBImage | None:
    return np.full((480, 640, 3), 90, np.uint8)


def page_of(evaluation: Evaluation, about: About = ABOUT) -> tuple[str, Outline]:
    page = render_evaluation(about, evaluation, figures_of(evaluation, {}), load)
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert outline.open == []
    return page, outline


def random_evaluation(labels: tuple[str, ...], count: int = 40) -> Evaluation:
    rng = np.random.default_rng(0)
    return measure([random_image(rng, labels, task=i) for i in range(count)], labels)


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page, outline = page_of(random_evaluation(("car", "dog")))
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in outline.links)
    assert not {"script", "link", "iframe", "object"} & set(outline.tags)
    assert "url(http" not in page
    assert "@import" not in page
    assert outline.tags.count("img") == MOST_IMAGES
    assert "default-src 'none'" in page


def test_names_are_escaped_wherever_they_stand() -> None:
    labels = (HTML, f'" onload="x {HTML}', "{{ 7 * 7 }}", "$x_{")
    evaluation = random_evaluation(labels)
    about = About(HTML, HTML, HTML, HTML, HTML, 0.05, "http://label-studio/data?task=")
    page, outline = page_of(evaluation, about)
    assert "script" not in outline.tags
    assert "{{ 7 * 7 }}" in page
    assert "&lt;script&gt;" in page
    links = [link for link in outline.links if link.startswith("http")]
    assert len(links) == MOST_IMAGES
    assert links[0] == f"http://label-studio/data?task={evaluation.worst[0].task}"


def test_without_a_label_an_image_or_a_mistake_the_page_says_so() -> None:
    page, _ = page_of(measure([], ["car"]))
    assert "No image could be measured." in page
    right = scored_image([("car", BOX, 0.9)], truth([("car", BOX)]), ["car"])
    page, _ = page_of(measure([right], ["car"]))
    assert "In no image is anything missed or wrong." in page
    page, _ = page_of(measure([scored_image([], truth([]), ["car"])], ["car"]))
    assert "not defined" in page
    assert not re.search(r"\bnan\b|\bNone\b", re.sub(r"base64,[^\"]*", "", page))


def test_many_labels_make_no_endless_page() -> None:
    labels = tuple(f"label {i}" for i in range(200))
    page, outline = page_of(random_evaluation(labels, 10))
    assert outline.tags.count("figure") <= 24 + 1 + 10
    assert "all are in evaluation.json" in page or "No label was taken for another." in page
    assert len(page) < 3_000_000


def test_images_that_cannot_be_had_any_more_are_passed_over() -> None:
    evaluation = random_evaluation(("car",), 5)
    page = render_evaluation(ABOUT, evaluation, figures_of(evaluation, {}), lambda *_: None)
    assert "cannot be read any more" in page


def test_the_same_figures_make_the_same_page() -> None:
    evaluation = random_evaluation(("car", "dog"), 5)
    assert page_of(evaluation)[0] == page_of(evaluation)[0]
