"""A file of any name: which SAM it holds is read from its tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from segment_anything.modeling import Sam

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.models.segmenters.mobile_sam_build import build_mobile_sam
from grounded_labeler.models.segmenters.sam_checkpoint import load_model
from tests.models.segmenters.test_sam import shape_only, tiny_sam

pytestmark = pytest.mark.slow

State = dict[str, Any]


@pytest.fixture(scope="module")
def mobile_sam() -> Sam:
    torch.manual_seed(0)
    return build_mobile_sam()


@pytest.mark.parametrize(("name", "blocks"), [("vit_b", 12), ("vit_l", 24), ("vit_h", 32)])
def test_the_size_of_a_vit_is_read_from_its_tensors(tmp_path: Path, name: str, blocks: int) -> None:
    torch.save(shape_only(name), tmp_path / "best.ckpt")
    model = load_model(tmp_path / "best.ckpt")
    assert len(model.image_encoder.blocks) == blocks


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda state: state, id="plain"),
        pytest.param(lambda state: {"model": state, "epoch": 3}, id="model"),
        pytest.param(lambda state: {"state_dict": state, "optimizer": {}}, id="state_dict"),
        pytest.param(lambda state: {f"module.{k}": v for k, v in state.items()}, id="module."),
        pytest.param(
            lambda state: {"model": {f"module.{k}": v for k, v in state.items()}}, id="both"
        ),
        pytest.param(
            lambda state: {"state_dict": {f"model.sam.{k}": v for k, v in state.items()}},
            id="state_dict of a module that holds it",
        ),
    ],
)
def test_what_training_scripts_put_around_the_weights_is_taken_off(
    tmp_path: Path, mobile_sam: Sam, wrap: Callable[[State], State]
) -> None:
    state = mobile_sam.state_dict()
    torch.save(wrap(state), tmp_path / "my-sam.pth")
    loaded = load_model(tmp_path / "my-sam.pth").state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_safetensors_load_too(tmp_path: Path, mobile_sam: Sam) -> None:
    save_file(mobile_sam.state_dict(), tmp_path / "my-sam.safetensors")
    segmenter = load_segmenter("sam", tmp_path / "my-sam.safetensors", Compute())
    assert segmenter.device == "cpu"


def _without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({}, "holds none of the models", id="nothing"),
        pytest.param({"weight": torch.ones(2)}, "holds none of the models", id="another model"),
        pytest.param({"model": [1]}, "holds none of the models", id="a list"),
        pytest.param({3: torch.ones(2)}, "holds none of the models", id="numbers for names"),
        pytest.param(
            {"image_encoder.pos_embed": torch.ones(())}, "holds none of the models", id="no shape"
        ),
        pytest.param(tiny_sam().state_dict(), "holds none of the models", id="another size"),
        pytest.param(
            _without(shape_only("vit_b"), "mask_decoder.iou_token.weight"),
            r"1 missing \(mask_decoder.iou_token.weight\)",
            id="one tensor lost",
        ),
        pytest.param([1], "must hold a state_dict, got list", id="no dict"),
    ],
)
def test_another_file_is_refused_in_one_sentence(
    tmp_path: Path, content: object, message: str
) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=message):
        load_segmenter("sam", tmp_path / "other.pth", Compute())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"my-sam\.pth cannot be read: No such file"):
        load_segmenter("sam", tmp_path / "my-sam.pth", Compute())


@pytest.mark.parametrize("engine", ["sam", "mobile-sam"])
def test_a_file_says_itself_which_engine_it_needs(
    tmp_path: Path, mobile_sam: Sam, engine: str
) -> None:
    torch.save(mobile_sam.state_dict(), tmp_path / "my.pt")
    assert load_segmenter(engine, tmp_path / "my.pt", Compute()).runtime.name == "PyTorch"


def test_a_folder_of_the_hub_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(WeightsError, match="holds a sam in the hub's layout: expected a SAM"):
        load_segmenter("sam", tmp_path, Compute())
