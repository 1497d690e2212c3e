"""What one run with all phrases tells of some of them is what a run with these finds."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from grounded_labeler.core.types import Label
from grounded_labeler.evaluation.curve import F1
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.phrases import Phrases, trials
from grounded_labeler.quality.runs import Runs, count_at, count_objects, limits_of
from grounded_labeler.quality.screening import Screening, as_asked
from grounded_labeler.quality.tune import for_labels
from grounded_labeler.settings import Settings
from tests.quality.planted import HIGH, LOW, MIDDLE, PlantedRunner, World

SETTINGS = Settings.from_env(
    {"DETECTOR": "demo", "SEGMENTER": "none", "BOX_THRESHOLD": "0.3", "TEXT_THRESHOLD": "0.2"}
)
LABELS = (Label("Disc", score_threshold=0.4), Label("Star", prompt="star . -litter"))
WORLD = World(
    kinds={"circle": 1.0, "star": 1.0, "litter": 2.0},
    phrases={
        "Disc": {"circle": MIDDLE},
        "circle": {"circle": HIGH, "star": LOW},
        "star": {"star": HIGH, "litter": MIDDLE},
        "litter": {"litter": HIGH},
    },
    labels={"circle": "Disc", "star": "Star"},
)


def runs(out: Path) -> Runs:
    subject = for_labels(WORLD.subject(30, LABELS))
    running = Running(out, PlantedRunner(WORLD))
    return Runs(subject, SETTINGS.choice, SETTINGS, running, lambda _: None)


def test_columns_of_a_run_are_a_run_with_these_phrases(tmp_path: Path) -> None:
    own = runs(tmp_path)
    tried = trials(LABELS, {"Disc": Phrases(("circle", "ring"), ("moon",))})
    every = own.ask({one.label: one.every for one in tried}, "")
    for chosen in ({}, {"Disc": Phrases(("circle",))}, {"Disc": Phrases(("Disc", "circle"))}):
        alone = own.ask(chosen, "")
        assert alone.keys() == every.keys()
        for key, image in alone.items():
            asked = as_asked(every[key], LABELS, chosen)
            assert asked.query.prompt == image.query.prompt
            assert asked.query.phrase_labels == image.query.phrase_labels
            mine, theirs = asked.found(), image.found()
            assert mine.labels == theirs.labels
            assert np.array_equal(mine.boxes, theirs.boxes)
            assert np.array_equal(mine.scores, theirs.scores)


def test_thresholds_of_labels_hold_and_negative_phrases_keep_theirs(tmp_path: Path) -> None:
    images = list(runs(tmp_path).ask({}, "").values())
    assert limits_of(images[0]) == {"Disc": 0.4, "Star": 0.3}
    labels = ("Disc", "Star")
    counts = count_at(images, labels, {"Star": 0.9})
    objects = count_objects(images, labels)
    assert np.array_equal(counts[..., 0] + counts[..., 2], objects)
    now = count_at(images, labels, {})
    assert np.array_equal(counts[:, 0], now[:, 0])
    assert counts[:, 1, 0].sum() < now[:, 1, 0].sum()
    own = runs(tmp_path).ask({"Star": Phrases(("star",))}, "")
    without = count_at(list(own.values()), labels, {})
    assert now[:, 1, 1].sum() < without[:, 1, 1].sum() / 2
    lower = count_at(images, labels, {"Star": 0.05})
    assert lower[:, 1, 1].sum() < without[:, 1, 1].sum(), "the negative phrase keeps its own"


def test_a_phrase_is_that_of_the_first_label_that_gains_by_it(tmp_path: Path) -> None:
    labels = (Label("Disc"), Label("Round"))
    phrases = {"circle": {"circle": HIGH}}
    world = replace(WORLD, labels={"circle": "Disc"}, phrases=phrases)
    subject = for_labels(world.subject(60, labels))
    own = Runs(
        subject, SETTINGS.choice, SETTINGS, Running(tmp_path, PlantedRunner(world)), lambda _: None
    )
    extra = Phrases(("circle",))
    tried = trials(labels, {"Disc": extra, "Round": extra})
    every = own.ask({one.label: one.every for one in tried}, "")
    screening = Screening(list(every.values()), own.targets, tried, F1())
    chosen = screening.choose(np.ones(60, np.bool_))
    assert chosen == {"Disc": Phrases(("circle",))}
    assert screening.choose(np.zeros(60, np.bool_)) == {}
