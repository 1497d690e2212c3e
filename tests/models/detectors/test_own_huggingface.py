"""A user's own detector: the folder that `save_pretrained` or a Trainer has written."""

import json
import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForZeroShotObjectDetection,
    BertTokenizerFast,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
)

from grounded_labeler.core.types import Candidates
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors import Options, load_detector
from tests.models.detectors.small_models import (
    FAMILIES,
    change_weights,
    images_of,
    noise,
    save_tiny,
)

pytestmark = pytest.mark.slow

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", params=["grounding-dino", "llmdet"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("original"), request.param)


@pytest.fixture
def own(original: Path, tmp_path: Path) -> Path:
    """The model of `original`, saved again as people do after training."""
    folder = tmp_path / "checkpoint-500"
    AutoModelForZeroShotObjectDetection.from_pretrained(original).save_pretrained(folder)
    GroundingDinoProcessor(
        GroundingDinoImageProcessor.from_pretrained(original),
        BertTokenizerFast.from_pretrained(original),
    ).save_pretrained(folder)
    return folder


def found(folder: Path) -> Candidates:
    detector = load_detector("transformers", folder, Options())
    [one] = detector.detect(images_of([noise(60, 80)]), [["red circle", "star"]])
    return one


def assert_same(one: Candidates, other: Candidates) -> None:
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.peaks, other.peaks)
    assert one.peaks.dtype == one.boxes.dtype == np.float32


def test_what_a_processor_saves_is_enough(own: Path, original: Path) -> None:
    """Today's transformers writes the image processor into `processor_config.json`."""
    assert (own / "processor_config.json").is_file()
    assert not (own / "preprocessor_config.json").exists()
    assert_same(found(own), found(original))


def test_what_a_trainer_leaves_beside_is_not_read(own: Path, original: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("a pickle was opened",)

    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (own / name).write_bytes(pickle.dumps(Trap()))
    (own / "trainer_state.json").write_text("{}")
    (own / "global_step500").mkdir()
    assert_same(found(own), found(original))


def test_weights_in_several_files_are_read(own: Path, original: Path) -> None:
    model = AutoModelForZeroShotObjectDetection.from_pretrained(own)
    (own / WEIGHTS).unlink()
    model.save_pretrained(own, max_shard_size="50KB")
    shards = sorted(own.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert_same(found(own), found(original))
    shards[1].unlink()
    with pytest.raises(WeightsError, match="incomplete or damaged") as caught:
        found(own)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_computed_in_float32(own: Path, dtype: torch.dtype) -> None:
    model = AutoModelForZeroShotObjectDetection.from_pretrained(own)
    model.to(dtype).save_pretrained(own)
    assert load_file(own / WEIGHTS)["model.text_projection.weight"].dtype == dtype
    half = found(own)
    model.float().save_pretrained(own)
    assert_same(half, found(own))


def test_a_class_count_of_training_changes_nothing(own: Path, original: Path) -> None:
    """Training scripts set the names of their classes, which the model does not read."""
    config = json.loads((own / "config.json").read_text())
    config |= {"id2label": {"0": "cat"}, "label2id": {"cat": 0}, "torch_dtype": "float32"}
    (own / "config.json").write_text(json.dumps(config))
    assert_same(found(own), found(original))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["config.json"], r"has no config\.json: download the weights, or name the folder"),
        ([WEIGHTS], r"has no model\.safetensors or model\.safetensors\.index\.json: "),
        (["tokenizer.json"], r"has no tokenizer\.json or vocab\.txt: save it there with the proc"),
        (["processor_config.json"], r"has no preprocessor_config\.json or processor_config\.json"),
    ],
)
def test_what_is_missing_is_named_with_where_it_comes_from(
    own: Path, names: list[str], says: str
) -> None:
    for name in names:
        (own / name).unlink()
    with pytest.raises(WeightsError, match=says) as caught:
        found(own)
    assert str(own) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_pickled_weights_are_never_read(own: Path, name: str) -> None:
    torch.save(load_file(own / WEIGHTS), own / name)
    (own / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match=rf"{name}, which is never read.*as safetensors"):
        found(own)


def test_more_tokens_than_the_model_knows_are_refused(own: Path) -> None:
    """Tokens were added to the tokenizer and not to the model: it would fail on them."""
    tokenizer = BertTokenizerFast.from_pretrained(own)
    tokenizer.add_tokens([f"class{number}" for number in range(2000)])
    tokenizer.save_pretrained(own)
    with pytest.raises(WeightsError, match=r"another model's tokenizer: .*at most 1030 tokens"):
        found(own)


def test_a_folder_of_another_size_of_model_is_refused(own: Path) -> None:
    change_weights(own, lambda weights: {**weights, "model.text_projection.bias": torch.zeros(7)})
    with pytest.raises(WeightsError) as caught:
        found(own)
    assert "\n" not in str(caught.value)


def test_an_own_folder_gives_its_text_encoder_back_too(
    own: Path, original: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        detector = load_detector("transformers", own, Options())
        detector.release()
    assert "stays in memory" not in caplog.text
    [again] = detector.detect(images_of([noise(60, 80)]), [["red circle", "star"]])
    assert_same(again, found(original))


def test_every_family_may_be_saved_again(tmp_path: Path) -> None:
    for family in FAMILIES:
        original = save_tiny(tmp_path / family, family)
        own = shutil.copytree(original, tmp_path / f"own-{family}")
        AutoModelForZeroShotObjectDetection.from_pretrained(original).save_pretrained(own)
        assert_same(found(own), found(original))
