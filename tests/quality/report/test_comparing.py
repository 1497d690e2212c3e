"""The page of a comparison: both sides of each image that differs, and words for the difference."""

import numpy as np
import pytest

from grounded_labeler.evaluation.comparison import Difference
from grounded_labeler.quality.comparison import ComparisonFigures, compare
from grounded_labeler.quality.figures import figures_of
from grounded_labeler.quality.measure import measure
from grounded_labeler.quality.report.comparing import Side, render_comparison, words_of_difference
from grounded_labeler.quality.report.page import About
from tests.quality.faked import random_image
from tests.quality.report.test_page import HTML, Outline, load


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (Difference(0.5, 0.6, 0.1, 0.05, 0.15), "+0.10, +0.05 to +0.15"),
        (Difference(0.6, 0.5, -0.1, -0.2, 0.001), "\u22120.10, \u22120.20 to 0.00"),
        (Difference(None, 0.5, None, None, None), "not defined"),
    ],
)
def test_a_difference_is_written_with_its_sign(difference: Difference, text: str) -> None:
    assert words_of_difference(difference) == text


def test_the_page_shows_both_sides_and_escapes_names() -> None:
    rng = np.random.default_rng(0)
    labels = ("car", HTML)
    images = [random_image(rng, labels, task=i) for i in range(10)]
    others = [random_image(rng, labels, task=i) for i in range(10)]
    others = [
        type(one)(one.task, one.target, one.query, other.result, one.truth)
        for one, other in zip(images, others, strict=True)
    ]
    a, b = measure(images, labels), measure(others, labels)
    both = compare(a, b)
    figures = ComparisonFigures(
        HTML,
        "now",
        both.total,
        both.labels,
        figures_of(a, {3: "No image."}),
        figures_of(b, {}),
        both.images,
        tuple(one.a.task for one in both.different),
    )
    about = About(HTML, HTML, HTML, HTML, HTML, 0.05)
    sides = Side("A", HTML, about, "a/report.html"), Side("B", "now", about, "b/report.html")
    page = render_comparison(sides, both, figures, load)
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert "script" not in outline.tags
    assert outline.tags.count("img") == 2 * len(both.different)
    links = {link for link in outline.links if not link.startswith(("data:image/jpeg", "#"))}
    assert links == {"a/report.html", "b/report.html"}
    assert "1 task could not be measured with both and is left out" in page
