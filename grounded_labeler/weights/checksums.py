"""Check that model files are there, and that they have their published checksums."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.catalog import make_weights
from grounded_labeler.weights.listing import files_of, paths_of
from grounded_labeler.weights.model import LISTING, Model, ModelFile


def missing_files(model: Model, model_dir: Path) -> list[Path]:
    """Return the files of `model` that are absent or of another size; reads no content.

    A bundled model is there when its folder is, and so is somebody's own; of a repository that
    was never fetched, the listing is missing. Raises WeightsError when a folder may not be
    looked into.
    """
    missing = [
        place
        for part in model.parts
        if (part.bundled or part.own) and not (place := part.folder(model_dir)).exists()
    ] + [
        part.folder(model_dir) / LISTING
        for part in model.parts
        if files_of(part, model_dir) is None
    ]
    return missing + [
        path for file, path in paths_of(model, model_dir) if size_of(path) != file.bytes
    ]


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
    for file, path in paths_of(model, model_dir):
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


def sums_of(model: Model, model_dir: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a model and of those it shares, by name.

    The published sums, whether or not the files are here; of a repository of the hub those of
    its listing; of a bundled model and of somebody's own the sums of the files themselves.
    Raises WeightsError when these cannot be known here.
    """
    if model.bundled is not None:
        return _own_sums(model.folder(model_dir))
    sums: dict[str, str] = {}
    for part in model.parts:
        if part.own is not None:
            found = _own_sums(part.own)
        elif (files := files_of(part, model_dir)) is not None:
            found = {file.name: file.sha256 for file in files}
        else:
            check_present([model], model_dir)
            found = {}
        sums |= {f"{part.name}/{name}": value for name, value in found.items()}
    if model.config is not None and Path(model.config).is_file():
        sums["config"] = _sum_if_changed(Path(model.config))
    return sums


def _own_sums(place: Path) -> dict[str, str]:
    """Return the sum of each file in a folder, or of the file, that engines may read."""
    if not place.is_dir():
        return {place.name: _sum_if_changed(place)}
    files = sorted(path for path in place.iterdir() if path.is_file() and path.name[0] != ".")
    return {path.name: _sum_if_changed(path) for path in files}


def _sum_if_changed(path: Path) -> str:
    try:
        found = path.stat()
        return _sum_at(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error


@cache
def _sum_at(path: Path, _size: int, _modified_ns: int) -> str:
    """Read a file of gigabytes once in the life of a process, unless it changes."""
    return sha256_of(path)


def weight_bytes(model: Model, model_dir: Path) -> int:
    """Return the size of the model's weights on disk in bytes; 0 where they are not here.

    In float32, as they are published, that is what they take in memory, too.
    """
    place = model.folder(model_dir)
    if place.is_file():
        return size_of(place) or 0
    files = list(place.glob("*"))
    # A folder of transformers' Trainer holds checkpoints of the optimizer beside the weights.
    weights = [path for path in files if path.suffix == ".safetensors"]
    weights = weights or [path for path in files if path.suffix in (".pth", ".pt")]
    return sum(size_of(path) or 0 for path in weights)


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
