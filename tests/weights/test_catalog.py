import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import grounded_labeler
from grounded_labeler.errors import SettingsError
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import (
    BERT_TOKENIZER,
    DETECTORS,
    SEGMENTERS,
    Model,
    ModelFile,
    chosen_models,
    detector,
    segmenter,
)

MODELS = [*DETECTORS.values(), *SEGMENTERS.values(), BERT_TOKENIZER]
FILES = [(model, file) for model in MODELS for file in model.files]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.engine}/{model.name}")
def test_every_model_says_whence_it_comes_and_under_which_licence(model: Model) -> None:
    assert model.source
    assert model.licence == "Apache-2.0"
    assert bool(model.files) != (model.bundled is not None), "either fetched or bundled"


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
    folders = [model.folder(Path("models")) for model in MODELS]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        (detector("groundingdino-swint-ogc"), "groundingdino"),
        (detector("groundingdino-swinb-cogcoor"), "groundingdino"),
        (detector("grounding-dino-tiny"), "transformers"),
        (detector("grounding-dino-base"), "transformers"),
        (detector("demo"), "transformers"),
        (segmenter("mobile-sam"), "mobile-sam"),
        (segmenter("sam-vit-b"), "sam"),
        (segmenter("sam-vit-l"), "sam"),
        (segmenter("sam-vit-h"), "sam"),
        (segmenter("demo"), "sam"),
    ],
)
def test_each_name_has_its_engine(model: Model, engine: str) -> None:
    assert model.engine == engine


def test_the_default_detector_is_in_the_catalog() -> None:
    assert detector(Settings.from_env({}).detector).name == "groundingdino-swint-ogc"


def test_groundingdino_brings_the_tokenizer_in_its_own_folder() -> None:
    paths = [path for _, path in detector("groundingdino-swint-ogc").paths(Path("models"))]
    assert paths == [
        Path("models/groundingdino-swint-ogc/groundingdino_swint_ogc.pth"),
        Path("models/bert-base-uncased/vocab.txt"),
    ]


@pytest.mark.parametrize("model", [detector("demo"), segmenter("demo")])
def test_demo_lies_in_the_package_and_needs_no_download(model: Model) -> None:
    package = Path(grounded_labeler.__path__[0])
    assert model.folder(Path("models")).is_relative_to(package / "demo" / "weights")
    assert model.paths(Path("models")) == []


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(SettingsError, match=r"DETECTOR=yolo .*groundingdino-swint-ogc.*demo"):
        detector("yolo")
    with pytest.raises(SettingsError, match=r"SEGMENTER=sam3 .*mobile-sam.*sam-vit-h"):
        segmenter("sam3")


def test_none_chooses_no_segmenter() -> None:
    chosen = chosen_models("groundingdino-swint-ogc", "none")
    assert chosen == [detector("groundingdino-swint-ogc")]
