"""Loads weights files into models: strictly, without running code from them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from grounded_labeler.errors import WeightsError

_NAMED_KEYS = 3


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the state_dict in the file `path` into `model`: every key and no other.

    Raises WeightsError when the file is missing or damaged, and as `load_state` does.
    """
    load_state(model, read_state(path), path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Put the tensors of `state`, read from `source`, into `model` without copying them.

    Raises WeightsError naming the keys that are missing, unexpected or of another shape or type.
    """
    expected = model.state_dict()
    check_keys(
        source,
        missing=expected.keys() - state.keys(),
        unexpected=state.keys() - expected.keys(),
        mismatched=[
            key for key in expected.keys() & state.keys() if not _matches(state[key], expected[key])
        ],
    )
    model.load_state_dict(state, assign=True)


def check_keys(
    source: Path,
    missing: Collection[str],
    unexpected: Collection[str],
    mismatched: Collection[str] = (),
) -> None:
    """Raise WeightsError, naming the first keys of each kind, unless there are none.

    Args:
        source: the file or folder of the weights, for the message.
        missing: keys of the model that the file lacks.
        unexpected: keys of the file that the model lacks.
        mismatched: keys of both whose shape or dtype differs.
    """
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape or type": mismatched,
    }
    named = [
        f"{len(keys)} {problem} ({_first(sorted(keys))})"
        for problem, keys in problems.items()
        if keys
    ]
    if named:
        raise WeightsError(f"{source} does not hold this model's weights: {'; '.join(named)}.")


def _matches(value: object, expected: Tensor) -> bool:
    return (
        isinstance(value, Tensor)
        and value.shape == expected.shape
        and value.dtype == expected.dtype
    )


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:_NAMED_KEYS] + ["..."] * (len(keys) > _NAMED_KEYS))


def read_state(path: Path) -> Mapping[str, Any]:
    """Read the dict that the file `path` holds: safetensors, or a pickle without code.

    Its values are tensors in safetensors; in a pickle they may be other plain data. Raises
    WeightsError when the file is missing, damaged or holds something else.
    """
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
