"""SAM 3's folders: the published layout, and what is not one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam3VideoConfig, Sam3VideoModel

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.sam3.build import load
from tests.models.sam3.small_models import save_detector_alone, save_small

pytestmark = pytest.mark.slow

# Of the model.safetensors in MODEL_CLASSES' published folder: https://huggingface.co/facebook/sam3
PUBLISHED_BYTES = 3_439_938_512


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("sam3"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "sam3"))


def test_the_published_file_has_the_names_and_shapes_that_are_loaded() -> None:
    """To the byte: its header spells every name and shape, and the rest are the numbers."""
    with torch.device("meta"):
        state = Sam3VideoModel(Sam3VideoConfig()).state_dict()
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(state):
        begin, end = end, end + 4 * state[name].numel()
        shape = list(state[name].shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    written = len(json.dumps(header, separators=(",", ":")))
    assert 8 + written + -written % 8 + end == PUBLISHED_BYTES


def test_all_parts_are_there_with_a_tracker_and_without(folder: Path, tmp_path: Path) -> None:
    whole, alone = load(folder), load(save_detector_alone(tmp_path / "alone"))
    assert set(whole.graphs) - set(alone.graphs) == {"tracker_neck", "decoder"}
    assert whole.facts.tracker is not None
    assert alone.facts.tracker is None


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def change_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    return changed


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


BOX_HEAD = "detector_model.detr_decoder.box_head.layer1.bias"


@pytest.mark.parametrize(
    ("sabotage", "sentence"),
    [
        (drop("config.json"), "has no config.json"),
        (drop("model.safetensors"), "incomplete or damaged"),
        (drop("processor_config.json"), "incomplete or damaged"),
        (cut, "incomplete or damaged"),
        (change_config(model_type="sam3_tracker"), "expected sam3_video or sam3"),
        (change_config(model_type="no such model"), "incomplete or damaged"),
        (change_weights(lambda state: state.pop(BOX_HEAD)), rf"1 missing \({BOX_HEAD}\)"),
        (
            change_weights(lambda state: state.pop("tracker_neck.fpn_layers.0.proj2.bias")),
            "1 missing",
        ),
        (
            change_weights(lambda state: state.pop("tracker_model.no_memory_embedding")),
            "1 missing",
        ),
        (
            change_weights(lambda state: state.update(extra=torch.zeros(1))),
            r"1 unexpected \(extra\)",
        ),
        (
            change_weights(lambda state: state.update({BOX_HEAD: torch.zeros(3)})),
            "incomplete or damaged",
        ),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused(
    folder: Path, sabotage: Callable[[Path], None], sentence: str
) -> None:
    sabotage(folder)
    with pytest.raises(WeightsError, match=sentence):
        load(folder)


def test_weights_in_several_files_load(folder: Path) -> None:
    expected = load(folder)
    model = Sam3VideoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="1MB")
    assert not (folder / "model.safetensors").exists()
    loaded = load(folder)
    assert loaded.facts == expected.facts
    for name, part in loaded.graphs.items():
        state, its = part.module.state_dict(), expected.graphs[name].module.state_dict()
        assert all(torch.equal(state[key], its[key]) for key in state | its), name


def test_a_processor_of_another_size_is_refused(folder: Path) -> None:
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    config["image_processor"]["size"] = {"height": 96, "width": 112}
    file.write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"resizes images to \(96, 112\) pixels: expected 112"):
        load(folder)
