"""Check that model files are there, and that they have their published checksums."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.catalog import Model, ModelFile, make_weights


def missing_files(model: Model, model_dir: Path) -> list[Path]:
    """Return the files of `model` that are absent or of another size; reads no content.

    A bundled model is there when its folder is. Raises WeightsError when a
    folder may not be looked into.
    """
    if model.bundled is not None:
        folder = model.folder(model_dir)
        return [] if folder.is_dir() else [folder]
    return [path for file, path in model.paths(model_dir) if size_of(path) != file.bytes]


def check_present(models: Sequence[Model], model_dir: Path) -> None:
    """Raise WeightsError, naming every missing file and what to run, unless all are there."""
    missing = [str(path) for model in models for path in missing_files(model, model_dir)]
    if missing:
        raise WeightsError(
            f"Weights are missing or incomplete: {', '.join(missing)}. Run `{make_weights()}` to"
            " download them, or `make demo` to see the service work with its small bundled models."
        )


def verify(model: Model, model_dir: Path) -> None:
    """Check every file of `model` against its published SHA-256, before it is loaded.

    A sum that held is written beside the file with its size and modification
    time, so that only a changed file is read again: this guards against damage
    and mix-ups, not against someone who may write to the folder. Raises
    WeightsError naming the file and the remedy.
    """
    check_present([model], model_dir)
    for file, path in model.paths(model_dir):
        try:
            if _is_marked(file, path):
                continue
            found = sha256_of(path)
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
        if found != file.sha256:
            raise WeightsError(
                f"{path} is damaged: its SHA-256 is {found}, published is {file.sha256}."
                f" Run `{make_weights()}` to download it again."
            )
        mark_verified(file, path)


@cache
def sums_of(model: Model) -> dict[str, str]:
    """Return the SHA-256 of each file of a model and of those it shares, by name.

    The published sums, whether or not the files are here; of a bundled model its files' own.
    """
    if model.bundled is not None:
        files = sorted(
            path
            for path in model.folder(Path()).iterdir()
            if path.is_file() and path.name[0] != "."
        )
        return {path.name: sha256_of(path) for path in files}
    return {f"{part.name}/{file.name}": file.sha256 for part in model.parts for file in part.files}


def size_of(path: Path) -> int | None:
    """Return the size in bytes, None when there is no such file; raises WeightsError."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file's content in hexadecimal digits; raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stamp(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified")


def _seal(file: ModelFile, path: Path) -> bytes:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {file.sha256}\n".encode()


def _is_marked(file: ModelFile, path: Path) -> bool:
    return _stamp(path).is_file() and _stamp(path).read_bytes() == _seal(file, path)


def mark_verified(file: ModelFile, path: Path) -> None:
    """Write beside `path` that its sum held, so that `verify` need not read it again."""
    # Models may lie on a read-only file system: then each start reads them in full.
    with suppress(OSError):
        _stamp(path).write_bytes(_seal(file, path))
