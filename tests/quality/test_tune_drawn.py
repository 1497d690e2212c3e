"""With the demo models on drawn images: noise in the truth, and a phrase that finds too much."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grounded_labeler.core.types import Label
from grounded_labeler.demo.shapes import DrawnImage, Shape
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.phrases import Phrases, read_trials
from grounded_labeler.quality.tune import TuneOptions, tune
from grounded_labeler.settings import Settings
from tests.quality.drawn import draw, drawn_subject

pytestmark = pytest.mark.slow

SETTINGS = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "none", "CPU_THREADS": "1"})


def only(images: list[DrawnImage], names: frozenset[str]) -> list[DrawnImage]:
    """The same images, where people name nothing but shapes of these names."""
    return [
        replace(one, shapes=tuple(shape for shape in one.shapes if shape.name in names))
        for one in images
    ]


def test_a_negative_phrase_is_kept_where_a_phrase_finds_too_much(tmp_path: Path) -> None:
    kinds = ("circle", "square", "triangle", "ring")
    images = only(draw(100, 80_000), frozenset(f"red {kind}" for kind in kinds))
    labels = (Label("Red thing", prompt="red"),)
    subject = drawn_subject(tmp_path / "images", images, labels, lambda _: "Red thing")
    options = TuneOptions(extra=read_trials(["red thing: shape, -red star, -blue star"], labels))
    [red] = tune(subject, SETTINGS, Running(tmp_path / "out"), options).best.labels
    assert red.now == Phrases(("red",))
    assert red.phrases == Phrases(("red",), ("red star",))
    assert red.after.wrong < red.before.wrong / 2
    assert red.gain.is_sure


def test_people_who_err_do_not_hide_the_best_phrase(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    names = frozenset({"red circle", "green circle", "blue circle", "yellow circle"})
    images = only(draw(60, 81_000), names | {"purple star", "orange ring"})  # some by mistake
    missing = [
        replace(one, shapes=tuple(shape for shape in one.shapes if rng.random() < 0.9))
        for one in images
    ]
    labels = (Label("Disc"),)

    def name(shape: Shape) -> str:
        return "Disc"

    subject = drawn_subject(tmp_path / "images", missing, labels, name)
    options = TuneOptions(extra=read_trials(["Disc: circle, ring, square"], labels))
    [disc] = tune(subject, SETTINGS, Running(tmp_path / "out"), options).best.labels
    assert disc.phrases == Phrases(("circle",))
    assert disc.gain.is_sure
