"""The names of a checkpoint's tensors against those of its model."""

from collections.abc import Collection
from pathlib import Path

from grounded_labeler.errors import WeightsError


def refuse_keys(source: Path, missing: Collection[str], unexpected: Collection[str]) -> None:
    """Raise WeightsError, naming the first few, unless both are empty."""
    found = []
    for keys, problem in ((missing, "missing"), (unexpected, "not known to the model")):
        if keys:
            names = ", ".join(sorted(keys)[:3]) + (", ..." if len(keys) > 3 else "")
            found.append(f"{len(keys)} weights are {problem} ({names})")
    if found:
        raise WeightsError(f"{source} does not fit its model: {' and '.join(found)}.")
