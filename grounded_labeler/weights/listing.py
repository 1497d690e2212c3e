"""The files of a model as they lie under MODEL_DIR, with the sums they must have."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.model import LISTING, Model, ModelFile

# A repository's own folders hold nothing that engines read; ".." would lead out of MODEL_DIR.
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_URL = re.compile(r"(https://\S+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
        files = tuple(checked(ModelFile(**entry)) for entry in json.loads(path.read_bytes()))
        _first, *_others = files  # a ValueError where none is listed
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{path}, which holds the sums of the files beside it, is damaged: remove it, and "
            "the next download asks for them again."
        ) from error
    return files


def checked(file: ModelFile) -> ModelFile:
    """Return `file` if it can be one of a repository, whose text may come from anybody.

    Raises ValueError that says what is wrong with it.
    """
    texts_fit = all(
        isinstance(text, str) and pattern.fullmatch(text)
        for text, pattern in ((file.name, _NAME), (file.url, _URL), (file.sha256, _SHA256))
    )
    if not texts_fit or not isinstance(file.bytes, int) or file.bytes < 1:
        raise ValueError(f"{file.name} has no name, address, size or SHA-256 that can be")
    return file


def write_listing(folder: Path, files: Sequence[ModelFile]) -> None:
    """Write the files and their sums into `folder`; raises OSError."""
    partial = folder / f"{LISTING}.part"
    partial.write_text(json.dumps([asdict(file) for file in files], indent=1) + "\n", "utf-8")
    partial.replace(folder / LISTING)
