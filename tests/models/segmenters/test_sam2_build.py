"""Folders of SAM 2.1 and EdgeTAM: what loads, what is refused, and that nothing is fetched."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, Sam2VideoConfig, Sam2VideoModel

from benchmarks.sam2_configs import EDGETAM, PUBLISHED, build_sam2, published_config
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import export_segmenter, load_segmenter
from tests.models.segmenters.small_models import (
    FAMILIES,
    MEAN,
    small_config,
    small_model,
    small_segmenter,
)
from tests.models.segmenters.test_clicks import MANY, ONE
from tests.models.segmenters.test_sam import WIDE, random_image

pytestmark = pytest.mark.slow

Folder = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection and every look-up of a name."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a model's files are read from its folder alone")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(family: str, tmp_path: Path) -> Path:
    """A small model for images, as transformers saves it."""
    small_model(family).save_pretrained(tmp_path)
    return tmp_path


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def check_scores(folder: Path, family: str) -> None:
    """The folder's segmenter answers as the model that was saved."""
    image = DecodedImage.of(random_image(WIDE))
    loaded, saved = load_segmenter("sam2", folder, Compute()), small_segmenter(family)
    for prompts in (ONE, MANY):
        [found], [expected] = loaded.segment(image, prompts), saved.segment(image, prompts)
        assert found.score == pytest.approx(expected.score, abs=1e-6)
        np.testing.assert_array_equal(found.mask.full(), expected.mask.full())


def test_a_folder_gives_back_the_saved_model(folder: Path, family: str) -> None:
    check_scores(folder, family)


def test_the_model_for_video_gives_its_model_for_images(tmp_path: Path, family: str) -> None:
    """The published folders are those of the models for video."""
    parts = {
        f"{name}_config": getattr(small_config(family), f"{name}_config").to_dict()
        for name in ("vision", "prompt_encoder", "mask_decoder")
    }
    if family == "edgetam":
        video = EdgeTamVideoModel(EdgeTamVideoConfig(**parts))
    else:
        video = Sam2VideoModel(Sam2VideoConfig(**parts))
    missing, unexpected = video.load_state_dict(small_model(family).state_dict(), strict=False)
    assert missing, "what only video needs"
    assert not unexpected
    video.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == f"{family}_video"
    check_scores(tmp_path, family)


def test_exported_graphs_answer_as_the_folder(folder: Path, family: str) -> None:
    export_segmenter("sam2", folder, folder / "graphs")
    made = load_segmenter("sam2", folder, Compute(), exported=folder / "graphs")
    assert made.runtime.name == "OpenVINO"
    image = DecodedImage.of(random_image(WIDE))
    [found], [expected] = made.segment(image, ONE), small_segmenter(family).segment(image, ONE)
    assert found.score == pytest.approx(expected.score, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda state: state.pop("mask_decoder.conv_s0.bias"),
            r"1 missing \(mask_decoder.conv_s0.bias\)",
            id="missing",
        ),
        pytest.param(
            lambda state: state.update({"mask_decoder.own": torch.ones(2)}),
            r"1 unexpected \(mask_decoder.own\)",
            id="unexpected",
        ),
        pytest.param(
            lambda state: state.update({"mask_decoder.conv_s0.bias": torch.ones(99)}),
            "incomplete or damaged",
            id="of another shape",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=message):
        load_segmenter("sam2", folder, Compute())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda config: config.update(model_type="sam"),
            "holds a sam: expected sam2 or",
            id="SAM",
        ),
        pytest.param(
            lambda config: config.update(model_type="bert"),
            "holds a bert: expected sam2",
            id="BERT",
        ),
        pytest.param(
            lambda config: config["vision_config"]["backbone_config"].update(model_type="resnet"),
            "names the backbone resnet: expected",
            id="another backbone",
        ),
        pytest.param(lambda config: config.clear(), "incomplete or damaged", id="empty"),
    ],
)
def test_another_model_is_refused_in_one_sentence(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change_config(folder, change)
    with pytest.raises(WeightsError, match=message):
        load_segmenter("sam2", folder, Compute())


@pytest.mark.parametrize(
    "backbone",
    [
        {"architecture": "hf-hub:someone/else"},
        {"architecture": "local-dir:/tmp"},
        {"architecture": "resnet50"},
        {"model_args": {"checkpoint_path": "/tmp/other.pth"}},
        {"model_args": {"pretrained": True}},
    ],
)
def test_a_backbone_that_would_be_fetched_or_read_from_elsewhere_is_refused(
    tmp_path: Path, backbone: dict[str, Any]
) -> None:
    small_model("edgetam").save_pretrained(tmp_path)
    change_config(
        tmp_path, lambda config: config["vision_config"]["backbone_config"].update(backbone)
    )
    with pytest.raises(WeightsError, match="names the backbone"):
        load_segmenter("sam2", tmp_path, Compute())


def test_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        load_segmenter("sam2", tmp_path, Compute())
    small_config("sam2").save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        load_segmenter("sam2", tmp_path, Compute())


def test_the_mean_and_deviation_are_those_of_the_image_processor(tmp_path: Path) -> None:
    small_model("sam2").save_pretrained(tmp_path)
    usual = load_segmenter("sam2", tmp_path, Compute())
    np.testing.assert_allclose(usual._facts.mean, np.multiply(MEAN, 255), rtol=1e-6)
    values = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.2, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    own = load_segmenter("sam2", tmp_path, Compute())
    np.testing.assert_allclose(own._facts.mean, [127.5, 102, 76.5], rtol=1e-6)
    np.testing.assert_allclose(own._facts.deviation, [127.5, 51, 25.5], rtol=1e-6)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"image_mean": [1], "image_std": [1, 2, 3]}'])
def test_an_image_processor_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    small_model("sam2").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json holds no image_mean"):
        load_segmenter("sam2", tmp_path, Compute())


# The bytes of the published model.safetensors, and of base-plus the checkpoint of facebookresearch.
FILES = {
    "sam2.1-hiera-tiny": 155_908_064,
    "sam2.1-hiera-small": 184_305_280,
    "sam2.1-hiera-base-plus": 323_606_802,
    "sam2.1-hiera-large": 897_897_416,
}


@pytest.mark.parametrize("name", FILES)
def test_the_published_configurations_have_the_published_sizes(name: str) -> None:
    config = published_config(name)
    with torch.device("meta"):
        video = Sam2VideoModel(
            Sam2VideoConfig(
                vision_config=config.vision_config,
                enable_occlusion_spatial_embedding=True,
                enable_temporal_pos_encoding_for_object_pointers=True,
            )
        )
    state = video.state_dict()
    weights = sum(value.numel() * value.element_size() for value in state.values())
    # The rest is the names and places of the tensors.
    assert 50 * len(state) < FILES[name] - weights < 400 * len(state)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_split_into_levels_of_the_published_shapes(name: str) -> None:
    with torch.device("meta"):
        model = build_sam2(name)
    encoder = model.config.vision_config
    assert model.prompt_encoder.input_image_size == 1024
    assert model.prompt_encoder.mask_input_size == (256, 256)
    assert encoder.backbone_feature_sizes == [[256, 256], [128, 128], [64, 64]]
    if name == EDGETAM:
        assert (
            model.vision_encoder.backbone.timm_model.feature_info.channels()
            == (encoder.backbone_channel_list[::-1])
        )
