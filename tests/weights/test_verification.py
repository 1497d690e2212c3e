"""What is written of a verification counts for the weights it was made with, and no others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from grounded_labeler.weights import catalog
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.listing import write_listing
from grounded_labeler.weights.model import Model, ModelFile
from grounded_labeler.weights.own import Kind
from grounded_labeler.weights.verification import (
    Outcome,
    Verification,
    digest_of,
    outcome_of,
    states_of,
    worst_of,
    write,
)

DEMO = Path(catalog.__file__).parents[1] / "demo" / "weights"


def put(kind: Kind, model: Model, model_dir: Path, outcome: Outcome = Outcome.VERIFIED) -> None:
    digest = digest_of(model, model_dir)
    write(Verification(model.name, kind, outcome, "0", digest), model_dir)


def test_a_model_is_not_verified_until_it_is(tmp_path: Path) -> None:
    model = DETECTORS["grounding-dino-tiny"]
    assert outcome_of("detector", model, tmp_path) is Outcome.NOT_VERIFIED
    put("detector", model, tmp_path)
    assert outcome_of("detector", model, tmp_path) is Outcome.VERIFIED
    put("detector", model, tmp_path, Outcome.DIFFERS)
    assert outcome_of("detector", model, tmp_path) is Outcome.DIFFERS


def test_other_weights_are_not_verified(tmp_path: Path) -> None:
    folder = shutil.copytree(DEMO / "segmenter", tmp_path / "segmenter")
    model = replace(SEGMENTERS["demo"], bundled=str(folder))
    put("segmenter", model, tmp_path)
    assert outcome_of("segmenter", model, tmp_path) is Outcome.VERIFIED
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"\0")
    assert outcome_of("segmenter", model, tmp_path) is Outcome.NOT_VERIFIED


def test_a_repository_is_verified_for_the_files_of_its_listing(tmp_path: Path) -> None:
    model = DETECTORS["llmdet-tiny"]
    assert outcome_of("detector", model, tmp_path) is Outcome.NOT_VERIFIED
    folder = model.folder(tmp_path)
    folder.mkdir()
    write_listing(folder, [ModelFile("model.safetensors", "", 1, "a" * 64)])
    put("detector", model, tmp_path)
    assert outcome_of("detector", model, tmp_path) is Outcome.VERIFIED
    write_listing(folder, [ModelFile("model.safetensors", "", 1, "b" * 64)])
    assert outcome_of("detector", model, tmp_path) is Outcome.NOT_VERIFIED


@pytest.mark.parametrize(
    ("kind", "name"),
    [("detector", "grounding-dino-base"), ("segmenter", "mobile-sam"), ("detector", "sam3")],
)
def test_without_values_or_their_image_it_is_said(kind: Kind, name: str, tmp_path: Path) -> None:
    model = (DETECTORS if kind == "detector" else SEGMENTERS)[name]
    assert outcome_of(kind, model, tmp_path) is Outcome.NO_VALUES


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"digest": 1}'])
def test_a_damaged_result_counts_for_nothing(content: str, tmp_path: Path) -> None:
    model = DETECTORS["grounding-dino-tiny"]
    put("detector", model, tmp_path)
    [path] = tmp_path.glob("verify/*.json")
    path.write_text(content)
    assert outcome_of("detector", model, tmp_path) is Outcome.NOT_VERIFIED
    digest = digest_of(model, tmp_path)
    path.write_text(json.dumps({"digest": digest, "outcome": "splendid"}))
    assert outcome_of("detector", model, tmp_path) is Outcome.NOT_VERIFIED


def test_models_of_one_name_have_the_worse_state(tmp_path: Path) -> None:
    choice = ModelChoice("demo", "demo")
    assert states_of([choice], tmp_path) == {"demo": "not verified"}
    put("detector", DETECTORS["demo"], tmp_path)
    assert states_of([choice], tmp_path) == {"demo": "not verified"}
    put("segmenter", SEGMENTERS["demo"], tmp_path)
    assert states_of([choice], tmp_path) == {"demo": "verified"}
    put("detector", DETECTORS["demo"], tmp_path, Outcome.DIFFERS)
    assert states_of([choice], tmp_path) == {"demo": "differs"}
    other = ModelChoice("demo", "mobile-sam")
    assert states_of([choice, other], tmp_path) == {
        "demo": "differs",
        "mobile-sam": "no published values",
    }
    assert worst_of([Outcome.VERIFIED, Outcome.NO_VALUES]) is Outcome.NO_VALUES


def test_of_a_model_that_is_gone_nothing_is_said(tmp_path: Path) -> None:
    assert states_of([ModelChoice(f"{tmp_path}/gone")], tmp_path) == {}
