"""What a run asks: of whom it was remembered, and with whose thresholds."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grounded_labeler.errors import BadRequest, SettingsError
from grounded_labeler.preannotate.first_line import which_thresholds
from grounded_labeler.preannotate.plan import folder_run, overrides_of, project_run
from grounded_labeler.prompts.sqlite import SQLiteStore
from tests.helpers.asking import IMAGE, PROMPT, RECTANGLES, view
from tests.helpers.label_studio import TOKEN, LabelStudio, run_label_studio

FIELD = '<Number name="box_threshold" toName="image" defaultValue="0.2"/>'
STRICT = RECTANGLES.replace(" toName", ' model_score_threshold="0.6" toName')


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LabelStudio]:
    with run_label_studio() as server:
        monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        for name in ("PROMPT_STORE", "PREANNOTATE", "BOX_THRESHOLD"):
            monkeypatch.delenv(name, raising=False)
        yield server


def options(**given: Any) -> Namespace:
    usual = {
        "project": 7,
        "export": None,
        "prompt": None,
        "min_score": None,
        "stretch": False,
        "group_duplicates": False,
    }
    return Namespace(**(usual | given))


def test_the_remembered_prompt_is_that_of_this_label_studio(
    server: LabelStudio, tmp_path: Path
) -> None:
    store = SQLiteStore(tmp_path / "prompts.sqlite3")
    for project in ("7", "7.1795170151", "71.1795170150"):
        store.save(f"{project}/image", 1.0, "of another")
    _, run = project_run(options())
    assert [query.text for query in run.queries] == [None]
    store.save("7.1795170150/image", 1.0, "red square")
    _, run = project_run(options())
    [query] = run.queries
    assert (query.text, query.is_remembered) == ("red square", True)
    _, run = project_run(options(prompt="star"))
    [query] = run.queries
    assert (query.text, query.is_remembered) == ("star", False)


@pytest.mark.parametrize(
    ("tags", "environ", "least", "said"),
    [
        ([RECTANGLES], None, None, "0.3 (default of groundingdino-swint-ogc)"),
        ([RECTANGLES, FIELD], None, None, "0.2 (default in the label config)"),
        ([RECTANGLES, FIELD], "0.4", None, "0.4 (BOX_THRESHOLD)"),
        ([STRICT, FIELD], "0.4", None, "0.6 (label config)"),
        ([STRICT, FIELD], "0.4", 0.5, "0.5 (command line)"),
        ([STRICT, FIELD], "0.4", 0.0, "0 (command line)"),
    ],
)
def test_what_is_given_last_and_nearest_holds_and_is_said(
    server: LabelStudio,
    monkeypatch: pytest.MonkeyPatch,
    tags: list[str],
    environ: str | None,
    least: float | None,
    said: str,
) -> None:
    server.label_config = view(PROMPT, IMAGE, *tags)
    if environ is not None:
        monkeypatch.setenv("BOX_THRESHOLD", environ)
    given = options(min_score=least)
    _, run = project_run(given)
    line = which_thresholds(run, overrides_of(given))
    assert line.startswith(f"box threshold {said}, text threshold 0.25")
    assert run.queries[0].thresholds.box == float(said.split(maxsplit=1)[0])


def test_the_models_are_those_that_the_project_chose(
    server: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS", "groundingdino-swint-ogc+mobile-sam,demo+demo")
    assert project_run(options())[1].models == "groundingdino-swint-ogc + mobile-sam"
    field = PROMPT.replace("<TextArea", '<TextArea detector="demo" segmenter="none"')
    server.label_config = view(field, IMAGE, RECTANGLES)
    _, run = project_run(options())
    assert run.models == "demo"
    assert run.version.startswith("demo-")
    assert "0.3 (default of demo)" in which_thresholds(run, overrides_of(options()))
    assert run.settings.offered.pairs == (run.settings.choice,)  # no others are loaded for it
    server.label_config = server.label_config.replace('"demo"', '"yolo"')
    with pytest.raises(BadRequest, match='has detector="yolo", which this service does not offer'):
        project_run(options())


def test_images_with_thresholds_of_their_own_are_told_apart(server: LabelStudio) -> None:
    server.label_config = view(
        '<Image name="left" value="$a"/><Image name="right" value="$b"/>',
        STRICT.replace('"image"', '"left"'),
        RECTANGLES.replace('"image"', '"right"'),
    )
    _, run = project_run(options())
    said = which_thresholds(run, overrides_of(options()))
    assert "left: box threshold 0.6 (label config)" in said
    assert "right: box threshold 0.3 (default of groundingdino-swint-ogc)" in said


@pytest.mark.parametrize("least", [7.0, -0.1, float("nan"), float("inf")])
def test_a_least_score_that_is_none_is_refused(tmp_path: Path, least: float) -> None:
    given = options(images=tmp_path, out=tmp_path, labels="a", min_score=least)
    with pytest.raises(SettingsError, match=r"^--min-score is .*, which must be from 0 to 1\.$"):
        folder_run(given)
