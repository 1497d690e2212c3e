"""Plots as SVG text that lies in a page: lines over thresholds, in the page's own text colour."""

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from grounded_labeler.quality.figures import Curve, Figures

# Told apart on white and on black, and by the kind of the line where colours cannot be.
COLORS = {"precision": "#3b82c4", "recall": "#d97706", "F1": "#2f9e5f"}
SIDE_COLORS = ("#3b82c4", "#d97706")  # of A and B
_STYLES = {"precision": "--", "recall": ":", "F1": "-"}
_TEXT = "#010203"  # stands for the page's own text colour until the SVG is written
_INCH = 96  # pixels as browsers have them


def plot_curve(
    thresholds: Sequence[float], curve: Curve, held: Sequence[float], *, size: tuple[int, int]
) -> Markup:
    """Draw precision, recall and F1 over thresholds, and mark those that hold and the best.

    Args:
        thresholds: rising, of the values of the curve.
        curve: what is drawn; gaps are left where a value is None.
        held: the thresholds that hold, as vertical lines.
        size: width and height in pixels.
    """
    with _settings():
        figure = Figure(figsize=(size[0] / _INCH, size[1] / _INCH), layout="constrained")
        axes = figure.subplots()
        lines = {"precision": curve.precision, "recall": curve.recall, "F1": curve.f1}
        for name, values in lines.items():
            known = [float("nan") if value is None else value for value in values]
            width = 2.2 if name == "F1" else 1.5
            axes.plot(
                thresholds, known, color=COLORS[name], linestyle=_STYLES[name], linewidth=width
            )
        for threshold in held:
            axes.axvline(threshold, color=_TEXT, linewidth=1, linestyle=(0, (4, 3)))
        if curve.best is not None and curve.best_f1 is not None:
            axes.plot([curve.best], [curve.best_f1], "o", color=COLORS["F1"], markersize=6)
        axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="box threshold")
        _style(axes)
        return _svg(figure)


def plot_trade(figures: Sequence[Figures], *, size: tuple[int, int]) -> Markup:
    """Draw precision over recall, a line for each of two, with a dot where each one is now."""
    with _settings():
        figure = Figure(figsize=(size[0] / _INCH, size[1] / _INCH), layout="constrained")
        axes = figure.subplots()
        for one, color, style in zip(figures, SIDE_COLORS, ("-", (0, (5, 3))), strict=True):
            rows = zip(one.curves[0].recall, one.curves[0].precision, strict=True)
            points = [(x, y) for x, y in rows if x is not None and y is not None]
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                color=color,
                linestyle=style,
                linewidth=2,
            )
            now = one.total.recall.value, one.total.precision.value
            if now[0] is not None and now[1] is not None:
                axes.plot([now[0]], [now[1]], "o", color=color, markersize=7)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
        _style(axes)
        return _svg(figure)


def _settings() -> AbstractContextManager[None]:
    """Letters stay letters; ids are hashes, with a salt that gives the same ones in every run."""
    return rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "grounded-labeler", "font.size": 9.0}
    )


def _style(axes: Axes) -> None:
    axes.patch.set_alpha(0)
    axes.grid(visible=True, color=_TEXT, alpha=0.12, linewidth=0.8)
    axes.tick_params(colors=_TEXT)
    axes.xaxis.label.set_color(_TEXT)
    axes.yaxis.label.set_color(_TEXT)
    for name, spine in axes.spines.items():
        spine.set_visible(name in {"left", "bottom"})
        spine.set_color(_TEXT)


def _svg(figure: Figure) -> Markup:
    figure.patch.set_alpha(0)
    written = io.StringIO()
    canvas = FigureCanvasSVG(figure)
    canvas.print_svg(written, metadata={"Date": None})  # type: ignore[no-untyped-call]
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(_TEXT, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Numbered from one in every plot, and a page has many; hashes of what they name stay.
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)
    svg = re.sub(r"font: (\d+(?:\.\d+)?)px [^;\"]*", r"font-size: \1px", svg)
    return Markup(svg)
