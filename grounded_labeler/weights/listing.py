"""The files of a model as they lie under MODEL_DIR, with the sums they must have."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.model import LISTING, Model, ModelFile


def files_of(part: Model, model_dir: Path) -> tuple[ModelFile, ...] | None:
    """Return the files of one part of a model that have a sum to be held to.

    None where nothing is known of them yet: a repository of the hub that was not fetched.
    Raises WeightsError when its listing is damaged.
    """
    return part.files if part.hub is None else read_listing(part.folder(model_dir))


def paths_of(model: Model, model_dir: Path) -> list[tuple[ModelFile, Path]]:
    """Return each such file of all parts with its place; raises as `files_of` does."""
    return [
        (file, part.folder(model_dir) / file.name)
        for part in model.parts
        for file in files_of(part, model_dir) or ()
    ]


def read_listing(folder: Path) -> tuple[ModelFile, ...] | None:
    """Return what `write_listing` wrote into `folder`, None if it did not.

    Raises WeightsError when it is damaged.
    """
    path = folder / LISTING
    try:
        return tuple(ModelFile(**entry) for entry in json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}, which holds the sums of the files beside it, is damaged: remove it, and "
            "the next download asks for them again."
        ) from error


def write_listing(folder: Path, files: Sequence[ModelFile]) -> None:
    """Write the files and their sums into `folder`; raises OSError."""
    partial = folder / f"{LISTING}.part"
    partial.write_text(json.dumps([asdict(file) for file in files], indent=1) + "\n", "utf-8")
    partial.replace(folder / LISTING)
