import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import grounded_labeler
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import BERT_TOKENIZER, DETECTORS, SEGMENTERS
from grounded_labeler.weights.listing import paths_of
from grounded_labeler.weights.model import Model, ModelFile

MODELS = [*DETECTORS.values(), *SEGMENTERS.values(), BERT_TOKENIZER]
FILES = [(model, file) for model in MODELS for file in model.files]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.engine}/{model.name}")
def test_every_model_says_whence_it_comes_and_under_which_licence(model: Model) -> None:
    assert model.source
    assert model.licence == "Apache-2.0" or model.terms is not None
    fetched = bool(model.files) or model.hub is not None
    assert fetched != (model.bundled is not None), "either fetched or bundled"


@pytest.mark.parametrize(("model", "file"), FILES, ids=lambda value: value.name)
def test_every_file_can_be_checked(model: Model, file: ModelFile) -> None:
    assert urlsplit(file.url).scheme == "https"
    assert urlsplit(file.url).path.endswith(f"/{file.name}")
    assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert file.bytes > 0
    assert Path(file.name).name == file.name, "stays in the model's own folder"


@pytest.mark.parametrize(("model", "file"), FILES, ids=lambda value: value.name)
def test_no_file_can_change_under_its_address(model: Model, file: ModelFile) -> None:
    if urlsplit(file.url).netloc in {"huggingface.co", "raw.githubusercontent.com"}:
        assert re.search(r"/[0-9a-f]{40}/", file.url)


def test_one_sum_means_one_file() -> None:
    by_sum: dict[str, set[tuple[str, int]]] = {}
    for _, file in FILES:
        by_sum.setdefault(file.sha256, set()).add((file.name, file.bytes))
    assert all(len(described) == 1 for described in by_sum.values())


def test_no_two_models_share_a_folder() -> None:
    folders = {model.folder(Path("models")): model for model in MODELS}
    # SAM 3 is both a detector and a segmenter, in one.
    assert {id(model) for model in folders.values()} == {id(model) for model in MODELS}


def test_what_the_hub_states_is_asked_where_no_sum_is_known() -> None:
    """A new model that is pinned has no `hub`, and one that is not has one: see hub.py."""
    asked = {model.name for model in MODELS if model.hub is not None}
    families = {"llmdet", "mm", "sam2.1", "edgetam", "sam3"}
    assert asked == {model.name for model in MODELS if model.name.split("-")[0] in families}


def test_the_default_detector_is_in_the_catalog() -> None:
    assert Settings.from_env({}).detector in DETECTORS


def test_groundingdino_brings_the_tokenizer_in_its_own_folder() -> None:
    paths = [path for _, path in paths_of(DETECTORS["groundingdino-swint-ogc"], Path("models"))]
    assert paths == [
        Path("models/groundingdino-swint-ogc/groundingdino_swint_ogc.pth"),
        Path("models/bert-base-uncased/vocab.txt"),
    ]


@pytest.mark.parametrize("model", [DETECTORS["demo"], SEGMENTERS["demo"]])
def test_demo_lies_in_the_package_and_needs_no_download(model: Model) -> None:
    package = Path(grounded_labeler.__path__[0])
    assert model.folder(Path("models")).is_relative_to(package / "demo" / "weights")
    assert paths_of(model, Path("models")) == []
