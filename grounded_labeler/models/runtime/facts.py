"""What a process must know of a model whose graphs it runs: kept beside them, as they were made.

`facts.json` holds a dataclass of numbers and names, one class for each kind of model;
`tokenizer.json` is the tokenizer in the form of the package `tokenizers`; `sums.json` has the
SHA-256 of every file, so that what was damaged since can be told and made again.
"""

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin
from typing import get_type_hints as hints_of

from tokenizers import Tokenizer

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.catalog import make_weights
from grounded_labeler.weights.checksums import sha256_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

FACTS, TOKENIZER, SUMS = "facts.json", "tokenizer.json", "sums.json"


def write_facts(folder: Path, facts: "DataclassInstance") -> None:
    """Write `facts` into `folder`, for `read_facts`; raises OSError when it cannot.

    Its fields are bool, int, finite float, str, None, literals, tuples of these or such
    dataclasses.
    """
    text = json.dumps(dataclasses.asdict(facts), indent=1)
    (folder / FACTS).write_text(f"{text}\n", encoding="utf-8")


def read_facts(folder: Path, kind: type[T]) -> T:
    """Read the facts of the class `kind` that `write_facts` wrote; lists come back as tuples.

    Raises WeightsError when the file is missing, or another than `write_sums` found, or has not
    exactly the fields of `kind` with values of their types.
    """
    file = folder / FACTS
    try:
        return cast(T, _typed(json.loads(_as_written(file)), kind))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file) from error


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write `tokenizer` into `folder`, for `read_tokenizer`; raises OSError when it cannot."""
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read what `write_tokenizer` wrote; raises WeightsError when it is missing or damaged."""
    file = folder / TOKENIZER
    try:
        text = _as_written(file)
    except (OSError, ValueError) as error:
        raise _damaged(file) from error
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the package raises bare Exception and no other
        raise _damaged(file) from error


def write_sums(folder: Path) -> None:
    """Write the sums of all files in `folder`, for `is_whole`; raises OSError when it cannot."""
    sums = {file.name: sha256_of(file) for file in sorted(folder.iterdir())}
    (folder / SUMS).write_text(f"{json.dumps(sums, indent=1)}\n", encoding="utf-8")


def read_sums(folder: Path) -> Mapping[str, object] | None:
    """Return what `write_sums` wrote, by name; None where it never ran.

    Raises OSError, and ValueError where the file is damaged.
    """
    file = folder / SUMS
    if not file.exists():
        return None
    sums = json.loads(file.read_text(encoding="utf-8"))
    return sums if isinstance(sums, dict) else _refuse(sums, dict)


def is_whole(folder: Path) -> bool:
    """Tell whether the files in `folder` are those that `write_sums` found; reads all of them."""
    try:
        sums = read_sums(folder)
        files = {file.name for file in folder.iterdir() if file.is_file()} - {SUMS}
        if sums is None or FACTS not in files or files != sums.keys():
            return False
        return all(sha256_of(folder / name) == known for name, known in sums.items())
    except (OSError, ValueError):
        return False


def _as_written(file: Path) -> str:
    """Read a file; raises OSError, and ValueError where it is another than `write_sums` found.

    With another tokenizer or other means the models would run, and find something else.
    """
    sums = read_sums(file.parent)
    if sums is not None and sums.get(file.name) != sha256_of(file):
        raise ValueError(f"{file.name} is not the file that was written")
    return file.read_text(encoding="utf-8")


def _damaged(file: Path) -> WeightsError:
    return WeightsError(
        f"{file} is damaged or of another version: run `{make_weights()}` to make it again."
    )


def _typed(value: object, hint: Any) -> object:  # noqa: ANN401 - any type hint
    """Turn a value of JSON into one of the type `hint`; raises ValueError when it is none."""
    if dataclasses.is_dataclass(hint):
        return _dataclass(value, cast("type[DataclassInstance]", hint))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _tuple(value, arguments)
    if origin is Literal:
        fits = value in arguments
    elif origin in (Union, types.UnionType):
        return _first_that_fits(value, arguments)
    elif hint is float:  # JSON has one kind of numbers
        return _finite(value)
    else:
        fits = type(value) is hint
    return value if fits else _refuse(value, hint)


def _finite(value: object) -> float:
    """Python reads NaN and Infinity in JSON; a model would compute nothing but NaN with them."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(value, float)
    try:
        number = float(value)
    except OverflowError as error:  # no ValueError
        raise ValueError("a number is too large for a float") from error
    return number if math.isfinite(number) else _refuse(value, float)


def _dataclass(value: object, kind: "type[DataclassInstance]") -> object:
    fields = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(value, dict) or value.keys() != fields:
        _refuse(value, kind)
    hints = hints_of(kind)
    return kind(**{name: _typed(one, hints[name]) for name, one in value.items()})


def _tuple(value: object, hints: tuple[Any, ...]) -> object:
    if not isinstance(value, list):
        _refuse(value, list)
    if hints[1:] == (...,):
        hints = (hints[0],) * len(value)
    return tuple(_typed(one, hint) for one, hint in zip(value, hints, strict=True))


def _first_that_fits(value: object, hints: tuple[Any, ...]) -> object:
    for hint in hints:
        if hint is types.NoneType and value is None:
            return None
        try:
            return _typed(value, hint)
        except ValueError:
            continue
    _refuse(value, hints)


def _refuse(value: object, hint: object) -> NoReturn:
    raise ValueError(f"expected {hint}, got {value!r}")
