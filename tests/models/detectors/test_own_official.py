"""A user's own checkpoint of the original Grounding DINO, and the config it was trained with."""

import argparse
import functools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import groundingdino.models.GroundingDINO.groundingdino as package
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig

from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.models.detectors import Options, export_detector, load_detector
from grounded_labeler.models.detectors import official as groundingdino
from grounded_labeler.models.detectors import official_build as engine
from grounded_labeler.models.detectors.official_config import NAMED, config_of, read_config
from tests.models.detectors.small_models import (
    CHECKPOINT,
    CONFIG,
    images_of,
    noise,
    save_vocabulary,
    small_model,
    with_torch,
)
from tools.make_groundingdino_golden import SHORT_SIDE, SMALL, TEXT

pytestmark = pytest.mark.slow

VALUES = {
    name: value
    for name, value in vars(NAMED[CONFIG]).items()
    if not name.startswith("__")
} | SMALL  # fmt: skip
OPTIONS = Options(short_side=SHORT_SIDE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> package.GroundingDINO:
    return small_model(save_vocabulary(tmp_path_factory.mktemp("bert")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a checkpoint may be put; text encoders are those of the small model."""
    monkeypatch.setattr(engine, "BertConfig", functools.partial(BertConfig, **TEXT))
    save_vocabulary(tmp_path)
    return tmp_path


@pytest.fixture
def config(folder: Path) -> Path:
    """A file as the package's own, of the small model."""
    return write_config(folder, "".join(f"{name} = {value!r}\n" for name, value in VALUES.items()))


def write_config(folder: Path, text: str) -> Path:
    file = folder / "cfg_own.py"
    file.write_text(text)
    return file


State = dict[str, Tensor]


def of_a_script(state: State) -> dict[str, Any]:
    """What training scripts save: all that they need to go on."""
    return {
        "model": state,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]},
        "lr_scheduler": {"last_epoch": 3},
        "epoch": 3,
        "args": argparse.Namespace(lr=1e-4, output_dir="out", freeze_keywords=["bert"]),
    }


LAYOUTS: dict[str, Callable[[State], object]] = {
    "only the model": lambda state: {"model": state},
    "of a training script": of_a_script,
    "of several GPUs": lambda state: of_a_script(
        {f"module.{name}": one for name, one in state.items()}
    ),
    "a bare state_dict": OrderedDict,
    "bare, of several GPUs": lambda state: {f"module.{name}": one for name, one in state.items()},
    "with labels for denoising": lambda state: {
        "model": state | {"label_enc.weight": torch.zeros(3)}
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_checkpoints_of_training_are_loaded(
    model: package.GroundingDINO, folder: Path, config: Path, layout: str
) -> None:
    torch.save(LAYOUTS[layout](dict(model.state_dict())), folder / "checkpoint0014.pth")
    detector = load_detector(
        "groundingdino", folder / "checkpoint0014.pth", OPTIONS, config=str(config)
    )
    theirs = with_torch(groundingdino.split(model), SHORT_SIDE)
    asked = images_of([noise(60, 80)]), [["red cat", "dog"]]
    (one,), (other,) = detector.detect(*asked), theirs.detect(*asked)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.peaks, other.peaks)
    detector.release()
    [again] = detector.detect(*asked)
    np.testing.assert_array_equal(again.peaks, one.peaks)


def test_the_published_configs_have_names(
    model: package.GroundingDINO, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMED, CONFIG, SimpleNamespace(**VALUES))
    torch.save({"model": model.state_dict()}, folder / "best.pth")
    assert load_detector("groundingdino", folder / "best.pth", OPTIONS, config=CONFIG)
    with pytest.raises(WeightsError, match=r"missing|of another shape"):
        load_detector(
            "groundingdino", folder / "best.pth", OPTIONS, config="GroundingDINO_SwinB_cfg"
        )
    torch.save({"model": model.state_dict()}, folder / CHECKPOINT)
    assert load_detector("groundingdino", folder / CHECKPOINT, OPTIONS)


def test_the_vocabulary_may_be_elsewhere(
    model: package.GroundingDINO, folder: Path, config: Path
) -> None:
    file = folder / "own" / "best.pth"
    file.parent.mkdir()
    torch.save({"model": model.state_dict()}, file)
    assert load_detector("groundingdino", file, OPTIONS, folder, config=str(config))
    with pytest.raises(WeightsError, match=r"own/vocab\.txt is missing or damaged: put BERT's"):
        load_detector("groundingdino", file, OPTIONS, config=str(config))


def test_a_config_read_from_the_package_s_own_files_is_the_same() -> None:
    for name, theirs in NAMED.items():
        read = vars(read_config(Path(str(vars(theirs)["__file__"]))))
        assert read == {key: one for key, one in vars(theirs).items() if not key.startswith("__")}
        assert config_of(Path("own.pth"), name) is theirs


@pytest.mark.parametrize(
    ("path", "chosen", "says"),
    [
        ("own.pth", None, r"own\.pth is none of groundingdino_swint_ogc\.pth, .*: name the config"),
        ("own.pth", "SwinT", r"must be GroundingDINO_SwinT_OGC or .*, got 'SwinT'"),
        ("own.pth", "cfg.yaml", r"or the path of a \.py file, got 'cfg\.yaml'"),
        ("own.pth", "nowhere/cfg.py", r"nowhere/cfg\.py cannot be read: No such file"),
    ],
)
def test_a_config_that_is_not_there_is_a_wrong_setting(
    folder: Path, path: str, chosen: str | None, says: str
) -> None:
    (folder / path).touch()
    with pytest.raises(SettingsError, match=says) as caught:
        load_detector("groundingdino", folder / path, OPTIONS, config=chosen)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_not_there_is_named(folder: Path, config: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pth has no .* or give the path of a checkpoint"):
        load_detector("groundingdino", folder / "none.pth", OPTIONS, config=str(config))


def test_transformers_takes_no_config(folder: Path) -> None:
    with pytest.raises(SettingsError, match=f"config in its folder, got '{CONFIG}'"):
        load_detector("transformers", folder, OPTIONS, config=CONFIG)
    with pytest.raises(SettingsError, match="config in its folder"):
        export_detector("transformers", folder, folder / "graphs", config=CONFIG)


NOT_LITERAL = "is read and never run, so it must consist of assignments such as"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import os\nnheads = 8\n", f"line 1: a config {NOT_LITERAL}"),
        ("nheads = 8\nnum_queries = int('9')\n", f"line 2: a config {NOT_LITERAL}"),
        ("nheads = open('RUN', 'w')\n", NOT_LITERAL),
        ("nheads = [open('RUN', 'w')]\n", NOT_LITERAL),
        ('nheads = f\'{open("RUN", "w")}\'\n', NOT_LITERAL),
        ("open('RUN', 'w')\n", NOT_LITERAL),
        ("nheads = __import__('os').system('touch RUN')\n", NOT_LITERAL),
        ("def f():\n    pass\n", NOT_LITERAL),
        ("nheads, dropout = 8, 0.0\n", NOT_LITERAL),
        ("model = dict(nheads=8)\n", NOT_LITERAL),
        ("model.nheads = 8\n", NOT_LITERAL),
        ("nheads = 9\nnheads += 1\n", NOT_LITERAL),
        ("nheads = " + "-" * 5000 + "1\n", "is not a Python file|" + NOT_LITERAL),
        ("nheads = " + "[" * 500 + "]" * 500 + "\n", "is not a Python file|" + NOT_LITERAL),
        ("_base_ = 'other.py'\n", "inherits from 'other.py': write all values into one file"),
        ("_base_ = ['a.py', 'b.py']\n", r"inherits from \['a.py', 'b.py'\]"),
        ("nheads = \n", "is not a Python file"),
        ("\0", "is not a Python file"),
        ("<html>Not Found</html>\n", "is not a Python file"),
        ("backbone = 'resnet50'\n", "has the backbone 'resnet50': expected a Swin"),
        ("sub_sentence_present = False\n", "sub_sentence_present to False"),
    ],
)
def test_a_config_is_never_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(WeightsError, match=says) as caught:
        config_of(folder / "own.pth", str(write_config(folder, text)))
    assert "\n" not in str(caught.value)
    assert "cfg_own.py" in str(caught.value)
    assert not (folder / "RUN").exists()


def test_a_config_may_have_comments_and_values_of_training(folder: Path) -> None:
    text = '"""Ours."""\n# tiny\nlr = 1e-4  # base\nlr_drop_list = [4, 8]\n'
    text += "frozen_weights = None\nrate = -1\n"
    assert vars(read_config(write_config(folder, text))) == {
        "lr": 1e-4, "lr_drop_list": [4, 8], "frozen_weights": None, "rate": -1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"nheads": None}, r"cfg_own\.py does not set nheads\."),
        ({"nheads": 0}, "No model can be built of the config .*: ZeroDivisionError"),
        ({"hidden_dim": "wide"}, "No model can be built of the config"),
        ({"return_interm_indices": [7]}, "No model can be built of the config .*: AssertionError"),
        ({"backbone": "swin_X"}, "No model can be built of the config .*: NotImplementedError"),
        ({"enc_layers": 2}, r"does not hold this model's weights: \d+ missing"),
    ],
)
def test_a_config_of_no_model_or_of_another_is_refused(
    model: package.GroundingDINO, folder: Path, changed: dict[str, Any], says: str
) -> None:
    values = {name: one for name, one in (VALUES | changed).items() if one is not None}
    values["backbone_freeze_keywords"] = None
    text = "".join(f"{name} = {one!r}\n" for name, one in values.items())
    torch.save({"model": model.state_dict()}, folder / "best.pth")
    with pytest.raises(WeightsError, match=says) as caught:
        load_detector(
            "groundingdino", folder / "best.pth", OPTIONS, config=str(write_config(folder, text))
        )
    assert "\n" not in str(caught.value)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("code of the checkpoint was run",)


@pytest.mark.parametrize("args", [Trap(), argparse.Namespace(hidden=Trap()), Path("out")])
def test_objects_in_a_checkpoint_are_never_made(
    model: package.GroundingDINO, folder: Path, config: Path, args: object
) -> None:
    torch.save({"model": model.state_dict(), "args": args}, folder / "best.pth")
    allowed = set(torch.serialization.get_safe_globals())
    with pytest.raises(
        WeightsError, match=r"damaged or not a Grounding DINO checkpoint.*save yours"
    ):
        load_detector("groundingdino", folder / "best.pth", OPTIONS, config=str(config))
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_four_levels_of_the_image_encoder_have_finer_cells(folder: Path, config: Path) -> None:
    values = vars(read_config(config)) | {
        "return_interm_indices": [0, 1, 2, 3],
        "num_feature_levels": 5,
    }
    made = engine.build_model(
        SimpleNamespace(**values),
        engine.load_tokenizer(folder / "vocab.txt", TEXT["vocab_size"]),
        BertConfig(**TEXT, attn_implementation="sdpa"),
    )
    parts = groundingdino.split(made.eval())
    assert parts.facts.cell_side == 4
    [found] = with_torch(parts, SHORT_SIDE).detect(images_of([noise(60, 80)]), [["red cat"]])
    assert np.isfinite(found.boxes).all()
