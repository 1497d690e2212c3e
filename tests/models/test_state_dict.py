"""Weights files into any model; test_sam.py has the published files and the damaged ones."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.state_dict import load_weights

FORMATS = pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt"])


def state() -> dict[str, Tensor]:
    """What a Linear(2, 3) holds."""
    return {"weight": torch.arange(6.0).reshape(3, 2), "bias": torch.tensor([7.0, 8.0, 9.0])}


def save(content: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


@FORMATS
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_tensor_of_the_file_is_in_the_model(tmp_path: Path, name: str, device: str) -> None:
    model = nn.Linear(2, 3, device=device)
    load_weights(model, save(state(), tmp_path / name))
    assert torch.equal(model.weight, state()["weight"])
    assert torch.equal(model.bias, state()["bias"])


MORE = {f"more.{number}": torch.zeros(1) for number in (3, 1, 2)}


@FORMATS
@pytest.mark.parametrize(
    ("change", "removed", "problems"),
    [
        ({}, ["bias"], "1 missing (bias)"),
        ({"extra": torch.zeros(1)}, [], "1 unexpected (extra)"),
        ({"bias": torch.zeros(4)}, [], "1 of another shape or type (bias)"),
        ({"bias": torch.zeros(3).double()}, [], "1 of another shape or type (bias)"),
        (MORE, [], "3 unexpected (more.1, more.2, more.3)"),
        (MORE | {"last": torch.zeros(1)}, [], "4 unexpected (last, more.1, more.2, ...)"),
        (
            {"extra": torch.zeros(1), "weight": torch.zeros(2, 3)},
            ["bias"],
            "1 missing (bias); 1 unexpected (extra); 1 of another shape or type (weight)",
        ),
    ],
)
def test_keys_that_do_not_fit_are_named_and_none_is_taken(
    tmp_path: Path, name: str, change: dict[str, Tensor], removed: list[str], problems: str
) -> None:
    content = {key: value for key, value in (state() | change).items() if key not in removed}
    path = save(content, tmp_path / name)
    model = nn.Linear(2, 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_weights(model, path)
    assert str(error.value) == f"{path} does not hold this model's weights: {problems}."
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must hold a state_dict, got list"),
        (torch.zeros(3), "must hold a state_dict, got Tensor"),
        ({"weight": 1.0, "bias": None}, r"2 of another shape or type \(bias, weight\)"),
    ],
)
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        load_weights(nn.Linear(2, 3), tmp_path / "w.pth")


@FORMATS
def test_a_file_that_is_missing_or_damaged_says_which(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(WeightsError, match=f"{name} cannot be read: No such file"):
        load_weights(nn.Linear(2, 3), path)
    path.write_bytes(save(state(), tmp_path / f"whole.{name}").read_bytes()[:-5])
    with pytest.raises(WeightsError, match=rf"{name} is damaged .*\(\w+\); fetch it again\."):
        load_weights(nn.Linear(2, 3), path)
