"""What is known of a model comes back from its folder as it was, or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from tokenizers import Tokenizer, models

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.runtime.facts import (
    FACTS,
    TOKENIZER,
    read_facts,
    read_tokenizer,
    write_facts,
    write_sums,
    write_tokenizer,
)


@dataclass(frozen=True)
class Inner:
    kind: Literal["padded", "squashed"]
    sides: tuple[int, int]


@dataclass(frozen=True)
class Outer:
    count: int
    scale: float
    is_square: bool
    name: str
    limit: int | None
    means: tuple[float, ...]
    inner: Inner
    more: tuple[Inner, ...] = ()
    other: Inner | None = None


FULL = Outer(
    3, 1 / 3, True, "vit", None, (0.1, 2, 3e-30), Inner("padded", (4, 5)),
    (Inner("squashed", (0, -1)),), Inner("padded", (1, 1)),
)  # fmt: skip


@pytest.mark.parametrize("facts", [FULL, Outer(0, 2.0, False, "", 7, (), Inner("padded", (1, 2)))])
def test_facts_come_back_as_they_were(tmp_path: Path, facts: Outer) -> None:
    write_facts(tmp_path, facts)
    assert read_facts(tmp_path, Outer) == facts


def test_a_whole_number_serves_as_a_float(tmp_path: Path) -> None:
    write_facts(tmp_path, FULL)
    content = json.loads((tmp_path / FACTS).read_text())
    (tmp_path / FACTS).write_text(json.dumps({**content, "scale": 2}))
    scale = read_facts(tmp_path, Outer).scale
    assert (scale, type(scale)) == (2.0, float)


@pytest.mark.parametrize(
    "change",
    [
        {"count": "3"},
        {"count": 3.5},
        {"count": True},
        {"scale": True},
        {"scale": None},
        {"scale": 10**400},
        {"scale": float("inf")},
        {"means": [float("nan")]},
        {"is_square": 1},
        {"name": None},
        {"limit": "7"},
        {"means": 1.0},
        {"means": ["x"]},
        {"inner": None},
        {"inner": {"kind": "padded"}},
        {"inner": {"kind": "other", "sides": [1, 2]}},
        {"inner": {"kind": "padded", "sides": [1, 2, 3]}},
        {"inner": {"kind": "padded", "sides": [1]}},
        {"more": [{}]},
        {"unknown": 1},
    ],
)
def test_other_types_and_fields_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_facts(tmp_path, FULL)
    content = json.loads((tmp_path / FACTS).read_text())
    (tmp_path / FACTS).write_text(json.dumps({**content, **change}))
    with pytest.raises(WeightsError, match=r"facts\.json is damaged or of another version: run"):
        read_facts(tmp_path, Outer)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_missing_or_damaged_file_is_told(tmp_path: Path, content: bytes | None) -> None:
    for name in (FACTS, TOKENIZER):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"facts\.json is damaged"):
        read_facts(tmp_path, Outer)
    with pytest.raises(WeightsError, match=r"tokenizer\.json is damaged"):
        read_tokenizer(tmp_path)


def test_a_field_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_facts(tmp_path, FULL)
    content = json.loads((tmp_path / FACTS).read_text())
    del content["other"]
    (tmp_path / FACTS).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="damaged or of another version"):
        read_facts(tmp_path, Outer)


@pytest.mark.parametrize("name", [FACTS, TOKENIZER])
def test_another_value_of_the_same_type_is_told_where_sums_were_written(
    tmp_path: Path, name: str
) -> None:
    """The models would run with it, and find something else."""
    write_facts(tmp_path, FULL)
    write_tokenizer(tmp_path, Tokenizer(models.WordLevel({"[UNK]": 0, "vit": 1}, "[UNK]")))
    write_sums(tmp_path)
    assert read_facts(tmp_path, Outer) == FULL
    assert read_tokenizer(tmp_path).token_to_id("vit") == 1
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text.replace('"vit"', '"vat"'))
    with pytest.raises(WeightsError, match="damaged or of another version"):
        _ = read_facts(tmp_path, Outer), read_tokenizer(tmp_path)


def test_a_tokenizer_comes_back(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    write_tokenizer(tmp_path, tokenizer)
    assert read_tokenizer(tmp_path).to_str() == tokenizer.to_str()
