"""The models of one service: how MODELS is read, and what a project gets of them."""

import shutil
from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS, default_thresholds
from grounded_labeler.weights.checksums import weight_bytes
from grounded_labeler.weights.choice import ModelChoice, detector, segmenter
from grounded_labeler.weights.offer import OfferedModels

TINY, DINO = "llmdet-tiny", "groundingdino-swint-ogc"
MODELS = f"{TINY}+sam2.1-tiny, {DINO} + mobile-sam ,{DINO}, {DINO},"
DEMO_WEIGHTS = Path(__file__).parents[2] / "grounded_labeler" / "demo" / "weights"


def offered(models: str = MODELS, **environ: str) -> OfferedModels:
    settings = Settings.from_env({"MODELS": models, "SEGMENTER": "none"} | environ)
    return settings.offered


def test_pairs_are_read_in_order_and_each_once() -> None:
    first = ModelChoice(TINY, "sam2.1-tiny")
    assert offered().pairs == (first, ModelChoice(DINO, "mobile-sam"), ModelChoice(DINO))
    assert offered().detectors == (TINY, DINO)
    assert offered().segmenters == ("sam2.1-tiny", "mobile-sam", "none")


def test_a_path_and_a_repository_can_be_in_it() -> None:
    [one, other] = offered("/data/my-dino.pth+hub:a/b@v1,hub:c/d", DETECTOR_CONFIG="x.py").pairs
    assert one == ModelChoice("/data/my-dino.pth", "hub:a/b@v1", "x.py")
    assert other == ModelChoice("hub:c/d", "none", "x.py")


@pytest.mark.parametrize(
    ("environ", "default"),
    [
        ({}, ModelChoice(DINO)),
        ({"SEGMENTER": "mobile-sam"}, ModelChoice(DINO, "mobile-sam")),
        ({"SEGMENTER": "sam-vit-b"}, ModelChoice(TINY, "sam2.1-tiny")),
        ({"DETECTOR": "grounding-dino-tiny"}, ModelChoice(TINY, "sam2.1-tiny")),
    ],
)
def test_the_default_is_that_of_the_other_settings_or_the_first(
    environ: dict[str, str], default: ModelChoice
) -> None:
    assert offered(**environ).default == default
    assert Settings.from_env({"MODELS": MODELS, "SEGMENTER": "none"} | environ).choice == default


def test_without_it_there_is_one_pair() -> None:
    settings = Settings.from_env({"DETECTOR": TINY, "SEGMENTER": "mobile-sam", "MODELS": " "})
    only = ModelChoice(TINY, "mobile-sam")
    assert settings.offered == OfferedModels(only, (only,))


@pytest.mark.parametrize(
    ("names", "choice"),
    [
        ((None, None), ModelChoice(DINO)),
        ((TINY, None), ModelChoice(TINY, "sam2.1-tiny")),
        ((DINO, None), ModelChoice(DINO, "mobile-sam")),  # the first pair that has it
        ((None, "sam2.1-tiny"), ModelChoice(DINO, "sam2.1-tiny")),
        ((TINY, "mobile-sam"), ModelChoice(TINY, "mobile-sam")),
        ((TINY, "none"), ModelChoice(TINY)),
        ((None, "none"), ModelChoice(DINO)),
    ],
)
def test_a_project_chooses_either_or_both(
    names: tuple[str | None, str | None], choice: ModelChoice
) -> None:
    assert offered().choose(*names) == choice


@pytest.mark.parametrize("names", [("sam3", None), (None, "sam3"), (TINY, "demo")])
def test_what_is_not_offered_cannot_be_chosen(names: tuple[str | None, str | None]) -> None:
    with pytest.raises(ValueError, match="is not offered"):
        offered().choose(*names)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("demo+demo+demo", r"MODELS=demo\+demo\+demo must be detectors, or a detector and a segme"),
        ("demo+", "MODELS=demo.* must be detectors, or"),
        ("demo,yolo", "MODELS=demo,yolo .* between them; each detector must be one of .*llmdet"),
        ("demo+llmdet-tiny", r"each segmenter must be one of .*sam2\.1-tiny.*none"),
        ("none", "each detector must be one of"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(models: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.from_env({"MODELS": models})


def test_every_model_is_fetched_and_checked_once() -> None:
    models = offered(MODELS).models(Path("nowhere"))
    assert models == [
        DETECTORS[TINY], SEGMENTERS["sam2.1-tiny"], DETECTORS[DINO], SEGMENTERS["mobile-sam"]
    ]  # fmt: skip


def test_settings_of_one_pair_have_no_other() -> None:
    settings = Settings.from_env({"MODELS": MODELS}).with_choice(ModelChoice(TINY, "mobile-sam"))
    assert settings.offered.pairs == (ModelChoice(TINY, "mobile-sam"),)


# What a model is and takes


def test_every_detector_has_thresholds_of_its_own_with_their_source() -> None:
    for model in DETECTORS.values():
        own = default_thresholds(model)
        assert model.thresholds == own or model.bundled, model.name
        assert 0 < own.box <= 1
        assert 0 <= own.text <= own.box
        assert own.source


def test_a_detector_of_your_own_has_those_of_its_family(tmp_path: Path) -> None:
    shutil.copytree(DEMO_WEIGHTS / "detector", tmp_path / "mine")
    own = detector(str(tmp_path / "mine"), tmp_path)
    assert default_thresholds(own) == DETECTORS["grounding-dino-tiny"].thresholds
    (tmp_path / "mine.pth").touch()
    checkpoint = detector(str(tmp_path / "mine.pth"), tmp_path, "GroundingDINO_SwinT_OGC")
    assert default_thresholds(checkpoint) == DETECTORS[DINO].thresholds
    unknown = detector("hub:somebody/some-dino", tmp_path)
    assert default_thresholds(unknown) == DETECTORS["grounding-dino-tiny"].thresholds


def test_weights_are_as_large_as_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(DEMO_WEIGHTS / "detector", folder)
    size = (folder / "model.safetensors").stat().st_size
    (folder / "optimizer.pt").write_bytes(bytes(size))
    (folder / "tokenizer.json").write_bytes(bytes(size))
    assert weight_bytes(detector(str(folder), tmp_path), tmp_path) == size
    checkpoint = tmp_path / "sam.ckpt"
    checkpoint.write_bytes(bytes(7))
    assert weight_bytes(segmenter(str(checkpoint), tmp_path), tmp_path) == 7
    assert weight_bytes(SEGMENTERS["mobile-sam"], tmp_path) == 0  # not here yet
