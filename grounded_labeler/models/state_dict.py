"""Weights files into models: strictly, without running what is in them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from grounded_labeler.errors import WeightsError

_NAMED_KEYS = 3


def fill(model: nn.Module, path: Path) -> None:
    """Put the tensors of the state_dict at `path` into `model`, every key and no other.

    Raises WeightsError naming the keys that are missing, unexpected or of another shape or type.
    """
    state = _read_state(path)
    expected = model.state_dict()
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape or type": sorted(
            key for key in expected.keys() & state.keys() if not _alike(state[key], expected[key])
        ),
    }
    found = [
        f"{len(keys)} {problem} ({_first(keys)})" for problem, keys in problems.items() if keys
    ]
    if found:
        raise WeightsError(f"{path} does not hold this model's weights: {'; '.join(found)}.")
    model.load_state_dict(state, assign=True)


def _alike(value: object, expected: Tensor) -> bool:
    return (
        isinstance(value, Tensor)
        and value.shape == expected.shape
        and value.dtype == expected.dtype
    )


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:_NAMED_KEYS] + ["..."] * (len(keys) > _NAMED_KEYS))


def _read_state(path: Path) -> Mapping[str, Tensor]:
    try:
        path.open("rb").close()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file trips the readers in too many ways to list
        raise WeightsError(
            f"{path} is damaged or no weights file ({type(error).__name__}); fetch it again."
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} must hold a state_dict, got {type(state).__name__}.")
    return state
