import json
from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import BERT_TOKENIZER, DETECTORS, SEGMENTERS
from grounded_labeler.weights.checksums import check_present, missing_files, sums_of
from grounded_labeler.weights.choice import ModelChoice, chosen_models, detector, segmenter


def folder_of(place: Path, **config: object) -> Path:
    """A folder as transformers writes it, with no weights to speak of."""
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(config))
    (place / "model.safetensors").write_bytes(b"weights")
    return place


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(SettingsError, match=r"DETECTOR=yolo .*groundingdino-swint-ogc.*demo.*hub:"):
        detector("yolo", Path())
    with pytest.raises(SettingsError, match=r"SEGMENTER=sam4 .*mobile-sam.*sam-vit-h.*none"):
        segmenter("sam4", Path())


def test_none_chooses_no_segmenter() -> None:
    choice = ModelChoice("groundingdino-swint-ogc", "none")
    assert chosen_models(choice, Path()) == [DETECTORS["groundingdino-swint-ogc"]]
    assert choice.name == "groundingdino-swint-ogc"
    assert not choice.has_segmenter


@pytest.mark.parametrize(
    ("kind", "config", "engine"),
    [
        ("detector", {"model_type": "grounding-dino"}, "transformers"),
        ("detector", {"model_type": "mm-grounding-dino"}, "transformers"),
        ("detector", {"model_type": "sam3"}, "sam3"),
        ("detector", {"model_type": "sam3_video"}, "sam3"),
        ("segmenter", {"model_type": "sam2"}, "sam2"),
        ("segmenter", {"model_type": "sam2_video"}, "sam2"),
        ("segmenter", {"model_type": "edgetam"}, "sam2"),
        ("segmenter", {"model_type": "sam3_video"}, "sam3"),
        ("segmenter", {"image_size": 320, "global_blocks": [1]}, "sam"),
    ],
)
def test_a_folder_of_your_own_says_what_it_is(
    tmp_path: Path, kind: str, config: dict[str, object], engine: str
) -> None:
    folder = folder_of(tmp_path / "mine-2", **config)
    find = detector if kind == "detector" else segmenter
    model = find(str(folder), tmp_path)
    assert (model.name, model.engine) == ("mine-2", engine)
    assert model.folder(tmp_path) == folder
    check_present([model], tmp_path)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("detector", {"model_type": "owlv2"}),
        ("detector", {"model_type": "sam2"}),
        ("segmenter", {"model_type": "grounding-dino"}),
        ("detector", {}),
        ("detector", []),
        ("detector", {"model_type": ["grounding-dino"]}),
        ("segmenter", {"model_type": {}}),
    ],
)
def test_a_folder_of_another_kind_gets_one_sentence(
    tmp_path: Path, kind: str, config: object
) -> None:
    folder = folder_of(tmp_path / "mine")
    (folder / "config.json").write_text(json.dumps(config))
    find = detector if kind == "detector" else segmenter
    with pytest.raises(WeightsError, match=rf"mine holds a model of type .* the {kind}: expected"):
        find(str(folder), tmp_path)


@pytest.mark.parametrize(
    ("name", "text"), [("config.json", "{"), ("nothing", "{"), ("config.json", "[" * 100_000)],
    ids=["cut", "missing", "deep"],
)  # fmt: skip
def test_a_folder_that_says_nothing_gets_one_sentence(tmp_path: Path, name: str, text: str) -> None:
    folder = folder_of(tmp_path / "mine", model_type="grounding-dino")
    (folder / "config.json").unlink()
    (folder / name).write_text(text)
    with pytest.raises(WeightsError, match=r"config.json (is damaged|cannot be read)"):
        detector(str(folder), tmp_path)


def test_a_path_that_cannot_be_looked_at_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"DETECTOR: .*: File name too long"):
        detector(str(tmp_path / ("a" * 300)), tmp_path)


def test_a_folder_by_where_it_is_from_here_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "mine", model_type="grounding-dino")
    monkeypatch.chdir(folder)
    for name in ("./", ".//", "../mine/", "../mine/../mine"):
        assert detector(name, tmp_path).name == ModelChoice(name).name == "mine"
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    assert detector("../", tmp_path).name == ModelChoice("../").name == "mine"


def test_a_checkpoint_of_your_own(tmp_path: Path) -> None:
    checkpoint = tmp_path / "tuned.v2.pth"
    with pytest.raises(WeightsError, match="there is no such folder or file"):
        detector(str(checkpoint), tmp_path)
    checkpoint.write_bytes(b"tensors")
    with pytest.raises(WeightsError, match="set DETECTOR_CONFIG to GroundingDINO_SwinT_OGC"):
        detector(str(checkpoint), tmp_path)
    model = detector(str(checkpoint), tmp_path, "GroundingDINO_SwinT_OGC")
    assert (model.name, model.engine) == ("tuned.v2", "groundingdino")
    assert model.shared == (BERT_TOKENIZER,)
    assert missing_files(model, tmp_path) == [tmp_path / "bert-base-uncased" / "vocab.txt"]
    assert segmenter(str(checkpoint), tmp_path).engine == "sam"
    other = tmp_path / "tuned.onnx"
    other.write_bytes(b"graph")
    with pytest.raises(WeightsError, match=r"is no folder and no .pth or .pt or .ckpt file"):
        segmenter(str(other), tmp_path)


def test_the_content_of_your_own_is_its_version(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", model_type="grounding-dino")
    before = sums_of(detector(str(folder), tmp_path), tmp_path)
    assert sorted(before) == ["mine/config.json", "mine/model.safetensors"]
    (folder / "model.safetensors").write_bytes(b"weights trained for longer")
    assert sums_of(detector(str(folder), tmp_path), tmp_path) != before


def test_the_config_of_a_checkpoint_is_part_of_its_version(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"tensors")
    config = tmp_path / "mine.py"
    config.write_text("num_queries = 900\n")
    model = detector(str(tmp_path / "mine.pth"), tmp_path, str(config))
    before = sums_of(model, tmp_path)
    config.write_text("num_queries = 300\n")
    assert sums_of(model, tmp_path) != before


def test_a_repository_of_the_hub_is_known_once_it_is_here(tmp_path: Path) -> None:
    name = "hub:someone/my-dino@refs/pr/3"
    model = detector(name, tmp_path)
    assert (model.name, model.engine) == ("someone--my-dino@refs--pr--3", "unknown")
    assert missing_files(model, tmp_path) == [tmp_path / model.name / "hub.json"]
    folder_of(tmp_path / model.name, model_type="grounding-dino")
    assert detector(name, tmp_path).engine == "transformers"
    with pytest.raises(WeightsError, match=r"someone/my-dino holds a model of type grounding-dino"):
        segmenter(name, tmp_path)


@pytest.mark.parametrize("name", ["hub:my-dino", "hub:a/b/c", "hub:a/b@", "hub:a/b c", "hub:/b"])
def test_a_repository_must_be_written_as_one(name: str) -> None:
    with pytest.raises(SettingsError, match=r"must be (one of|written hub:owner/name)"):
        detector(name, Path())
    with pytest.raises(SettingsError, match=r"DETECTOR.* must be (one of|written hub:owner)"):
        Settings.from_env({"DETECTOR": name})


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (ModelChoice("demo", "demo"), "demo+demo"),
        (ModelChoice("/models/my-dino/", "/models/sam.v2.pth"), "my-dino+sam.v2"),
        (ModelChoice("hub:a/b@main", "none"), "a--b"),
        (ModelChoice("hub:a/b@v1", "mobile-sam"), "a--b@v1+mobile-sam"),
    ],
)
def test_versions_name_the_models(choice: ModelChoice, name: str) -> None:
    assert choice.name == name


def test_names_are_those_of_the_models(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "models" / "my-dino", model_type="grounding-dino")
    for name in ("demo", str(mine), "hub:someone/theirs@v1"):
        choice = ModelChoice(name)
        assert [model.name for model in chosen_models(choice, tmp_path)] == [choice.name]
    assert SEGMENTERS["sam3"] is DETECTORS["sam3"]
