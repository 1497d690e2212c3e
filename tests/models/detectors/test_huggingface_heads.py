"""Every layer has the heads of its file, or the model is refused; no key tells of wrong ones."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForZeroShotObjectDetection, PreTrainedConfig, PreTrainedModel

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors import Options, huggingface_build, load_detector
from grounded_labeler.models.detectors import huggingface_heads as heads
from tests.models.detectors.small_models import (
    DEMO,
    FAMILIES,
    as_published,
    change_weights,
    images_of,
    noise,
    save_tiny,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FLAGS = ("decoder_bbox_embed_share", "decoder_cls_embed_share")
OF_LATER_LAYERS = re.compile(r"(bbox|class)_embed\.[1-9]")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("published"), "llmdet")


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of a folder of the published layout that a test may change."""
    return shutil.copytree(published, tmp_path / "copy")


def load_whole(folder: Path) -> PreTrainedModel:
    return AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()


def set_flags(folder: Path, value: bool | None) -> None:
    config = json.loads((folder / "config.json").read_text())
    for flag in FLAGS:
        config.pop(flag, None)
        if value is not None:
            config[flag] = value
    (folder / "config.json").write_text(json.dumps(config))


def without_later_layers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: one for name, one in weights.items() if not OF_LATER_LAYERS.search(name)}


def assert_detects_as(folder: Path, expected: Path) -> None:
    asked = images_of([noise(60, 80)]), [["red circle", "star"]]
    (one,), (other,) = (
        load_detector("transformers", at, Options()).detect(*asked) for at in (folder, expected)
    )
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.peaks, other.peaks)


def test_the_published_layout_names_each_head_once(folder: Path) -> None:
    names = load_file(folder / "model.safetensors").keys()
    for kind, tensors in {"bbox_embed": 6, "class_embed": 1}.items():
        at = [name for name in names if re.search(rf"(^|\.){kind}\.", name)]
        assert len(at) == 3 * tensors
        assert {name.startswith(f"{kind}.0.") for name in at if f"{kind}.0." in name} == {True}
        later = [name for name in at if f"{kind}.0." not in name]
        assert all(name.startswith(f"model.decoder.{kind}.") for name in later)
    assert json.loads((folder / "config.json").read_text())[FLAGS[0]] is False


@pytest.mark.parametrize("flags", [False, True, None], ids=["own", "shared", "absent"])
@pytest.mark.parametrize("layout", ["published", "saved now", "both"])
def test_heads_are_those_of_the_file_whatever_the_config_says(
    folder: Path, published: Path, layout: str, flags: bool | None
) -> None:
    if layout != "published":
        load_whole(folder).save_pretrained(folder)
    if layout == "both":
        change_weights(folder, lambda weights: as_published(weights) | weights)
    set_flags(folder, flags)
    assert_detects_as(folder, published)


def test_heads_in_several_files_are_read(folder: Path, published: Path) -> None:
    model = load_whole(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    set_flags(folder, value=None)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert_detects_as(folder, published)


@pytest.mark.parametrize("flags", [False, None], ids=["own", "absent"])
def test_folders_that_lost_the_heads_of_later_layers_are_refused(
    folder: Path, flags: bool | None
) -> None:
    change_weights(folder, without_later_layers)
    set_flags(folder, flags)
    with pytest.raises(
        WeightsError, match=r'of the first decoder layer only.*"decoder_.*_share": true in'
    ) as one:
        load_detector("transformers", folder, Options())
    assert "\n" not in str(one.value)
    set_flags(folder, value=True)  # as the sentence says, for those who trained it so
    load_detector("transformers", folder, Options())


def test_a_folder_that_lost_one_head_is_refused(folder: Path) -> None:
    change_weights(
        folder,
        lambda weights: {
            name: one for name, one in weights.items() if "decoder.bbox_embed.2" not in name
        },
    )
    with pytest.raises(WeightsError, match=r"bbox_embed of decoder layers 0, 1: expected that of"):
        load_detector("transformers", folder, Options())


@pytest.mark.parametrize("family", ["grounding-dino", "mm-grounding-dino"])
def test_one_head_for_all_layers_is_loaded_where_the_config_says_so(
    tmp_path: Path, family: str
) -> None:
    folder = save_tiny(tmp_path, family)
    read = heads.read_heads(folder)
    assert not [name for name in read if OF_LATER_LAYERS.search(name)]
    load_detector("transformers", folder, Options())
    set_flags(folder, value=False)
    with pytest.raises(WeightsError, match="of the first decoder layer only"):
        load_detector("transformers", folder, Options())


def test_one_head_is_what_grounding_dino_has_where_its_config_says_nothing(tmp_path: Path) -> None:
    folder = shutil.copytree(DEMO, tmp_path / "copy")
    set_flags(folder, value=None)
    load_detector("transformers", folder, Options())


def test_own_heads_of_grounding_dino_are_loaded(tmp_path: Path) -> None:
    """A file may name them all though the config says that they are shared."""
    folder = save_tiny(tmp_path, "grounding-dino")
    made = FAMILIES["grounding-dino"]
    config = made.config_class.from_pretrained(folder, decoder_bbox_embed_share=False)
    model = made.model_class(config)
    model.save_pretrained(folder)
    set_flags(folder, value=True)
    read = heads.read_heads(folder)
    assert not torch.equal(
        read["bbox_embed.0.layers.0.weight"], read["bbox_embed.1.layers.0.weight"]
    )
    load_detector("transformers", folder, Options())


# Ways in which versions of transformers, or changes after loading, mix heads up.
def share_all(model: PreTrainedModel) -> None:
    """As 5.0 to 5.20: the first layer's, under all names."""
    for owner in (model, model.model.decoder):
        for kind in ("bbox_embed", "class_embed"):
            for layer in range(1, 3):
                getattr(owner, kind)[layer] = getattr(model, kind)[0]


def share_outer(model: PreTrainedModel) -> None:
    """As 5.21 does without the flags of the config: the decoder's own are right."""
    for kind in ("bbox_embed", "class_embed"):
        for layer in range(1, 3):
            getattr(model, kind)[layer] = getattr(model, kind)[0]


def share_inner(model: PreTrainedModel) -> None:
    for layer in range(1, 3):
        model.model.decoder.bbox_embed[layer] = model.bbox_embed[0]


def swap(model: PreTrainedModel) -> None:
    """Both names agree, and keys and shapes fit."""
    for owner in (model, model.model.decoder):
        owner.bbox_embed[1], owner.bbox_embed[2] = owner.bbox_embed[2], owner.bbox_embed[1]


def nudge_scores(model: PreTrainedModel) -> None:
    for owner in (model, model.model.decoder):
        owner.class_embed[2].bias.data += 1e-3


def nudge_proposals(model: PreTrainedModel) -> None:
    model.model.encoder_output_bbox_embed.layers[2].bias.data += 1e-3


@pytest.mark.parametrize(
    "sabotage", [share_all, share_outer, share_inner, swap, nudge_scores, nudge_proposals]
)
def test_a_model_with_other_heads_than_its_file_is_refused(
    published: Path, sabotage: Callable[[PreTrainedModel], None]
) -> None:
    model, held = load_whole(published), heads.read_heads(published)
    heads.check_heads(model, held, published)
    with torch.no_grad():
        sabotage(model)
    with pytest.raises(WeightsError, match="other heads than its file holds") as caught:
        heads.check_heads(model, held, published)
    assert "\n" not in str(caught.value)


def test_the_guard_stops_a_load_that_mixes_heads_up(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flags of the config left as the file does not have them: what 5.21 and later do."""

    def set_wrong(config: PreTrainedConfig, *_: object) -> None:
        for flag in FLAGS:
            setattr(config, flag, True)

    monkeypatch.setattr(huggingface_build, "set_sharing", set_wrong)
    with pytest.raises(WeightsError, match=r"other heads .* \(14 tensors, class_embed\.1\.bias"):
        load_detector("transformers", published, Options())


def test_one_head_that_a_layer_does_not_have_is_refused(tmp_path: Path) -> None:
    """Layers that the file does not name have the first one's, and no other."""
    folder = save_tiny(tmp_path, "grounding-dino")
    model, held = load_whole(folder), heads.read_heads(folder)
    heads.check_heads(model, held, folder)
    with torch.no_grad():
        for owner in (model, model.model.decoder):
            owner.bbox_embed[1] = copy.deepcopy(owner.bbox_embed[1])
            owner.bbox_embed[1].layers[0].weight += 1
    with pytest.raises(WeightsError, match=r"bbox_embed\.1\.layers\.0\.weight"):
        heads.check_heads(model, held, folder)


def test_no_version_that_mixes_heads_up_is_allowed() -> None:
    lines = (ROOT / "requirements-torch.in").read_text().splitlines()
    [stated] = [
        Requirement(line.split("#")[0]) for line in lines if line.startswith("transformers")
    ]
    assert not [minor for minor in range(21) if Version(f"5.{minor}.0") in stated.specifier]
    assert Version("4.57.1") not in stated.specifier
    assert Version("5.21.0") in stated.specifier
