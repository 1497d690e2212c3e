"""Plots are SVG in the page's own text colour, with gaps where nothing is defined."""

import xml.etree.ElementTree as ET

from grounded_labeler.quality.figures import Curve, figures_of
from grounded_labeler.quality.measure import measure
from grounded_labeler.quality.report.plots import COLORS, plot_curve, plot_trade
from tests.quality.faked import scored_image, truth

GRID = (0.1, 0.5, 0.9)
NOTHING = (None, None, None)


def curve(values: tuple[float | None, ...], best: float | None = None) -> Curve:
    return Curve("car", values, values, values, best, None if best is None else 1.0)


def test_a_plot_is_well_formed_and_takes_the_colour_of_the_text() -> None:
    svg = plot_curve(GRID, curve((0.2, 0.9, None), 0.5), [0.3], size=(300, 200))
    ET.fromstring(svg)
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert all(color in svg for color in COLORS.values())
    assert "box threshold" in svg, "letters stay letters"
    assert "http://www.w3.org" in svg
    assert "matplotlib.org" not in svg


def test_nothing_defined_makes_an_empty_plot() -> None:
    ET.fromstring(plot_curve(GRID, curve(NOTHING), [], size=(300, 200)))
    ET.fromstring(plot_curve((), curve(()), [], size=(300, 200)))


def test_two_trades_are_drawn_also_where_one_found_nothing() -> None:
    box = (10.0, 10.0, 60.0, 60.0)
    images = [scored_image([("car", box, 0.9)], truth([("car", box)]), ["car"])]
    one = figures_of(measure(images, ["car"]), {})
    none = figures_of(measure([], ["car"]), {})
    svg = plot_trade((one, none), size=(300, 200))
    ET.fromstring(svg)
    assert "precision" in svg
