"""What the first line of a run says."""

from pathlib import Path

import pytest

from grounded_labeler.core.types import Label
from grounded_labeler.label_studio.queries import default_queries
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.preannotate.first_line import describe_run
from grounded_labeler.preannotate.plan import folder_config
from grounded_labeler.preannotate.run import Run
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import summarize

LABELS = (Label("Car", score_threshold=0.45), Label("Person"))


def line(prompt: str | None, overrides: Overrides, **environ: str) -> tuple[str, Run]:
    settings = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo", **environ})
    config = folder_config(LABELS)
    models = summarize(settings.choice, Path("models"))
    queries = default_queries(
        config, settings, models, lambda _: None, prompt=prompt, overrides=overrides
    )
    run = Run(settings, config, queries, "")
    return describe_run(run, overrides), run


def test_it_says_what_is_looked_for_who_set_what_and_which_models_run() -> None:
    said, run = line("red car > 0.2 . person . -toy car", Overrides(), TEXT_THRESHOLD="0.22")
    assert said == (
        "for: red car, person, -toy car; box threshold 0.3 (default of demo), text threshold 0.22 "
        "(TEXT_THRESHOLD), NMS threshold 0.7 (default), at most 300 regions (default), but for "
        "red car 0.2 (prompt), Car 0.45 (label config); tiles: off; models: demo + demo; model "
        f"version {run.version}"
    )


@pytest.mark.parametrize("tiles", ["off", "auto", "800"])
def test_it_says_the_tiles(tiles: str) -> None:
    assert f"; tiles: {tiles}; " in line(None, Overrides(), TILES=tiles)[0]


def test_a_threshold_of_the_command_line_leaves_that_of_the_prompt() -> None:
    said, _ = line("red car > 0.2", Overrides(box_threshold=0.5))
    assert "box threshold 0.5 (command line)" in said
    assert "but for red car 0.2 (prompt); tiles" in said


def test_it_has_an_end_however_much_is_looked_for() -> None:
    prompt = " . ".join(f"thing number {i} > 0.2" for i in range(500))
    assert len(line(prompt, Overrides())[0]) < 1000
