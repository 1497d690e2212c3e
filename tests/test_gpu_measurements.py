"""The measurements for GPUs, on the CPU with small models on both sides."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.asking import Album
from benchmarks.gpu import clients, encoders, prompts, proposals
from benchmarks.gpu.measuring import NO_TIME, Budget, Figure, Notes, in_turns
from benchmarks.gpu.results import FAIL, PASS, EventReader, EventWriter
from benchmarks.gpu.sides import Sides
from benchmarks.images import serving
from tests.helpers.small_reference import small_reference

pytestmark = pytest.mark.slow

NEVER, AT_ONCE = time.time() + 1e6, 0.0


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """The bundled models beside a reference of small models of other weights."""
    album = Album()
    with serving(album) as address:
        made = Sides("demo", "cpu", album, address)
        vars(made)["reference"] = small_reference(tmp_path_factory.mktemp("bert"))
        yield made


class Measured:
    """The notes of a part, and what it told."""

    def __init__(self, folder: Path, until: float) -> None:
        self._reader = EventReader(folder / "events")
        self.notes = Notes("part", EventWriter(folder / "events"), Budget(until))

    def records(self) -> list[dict[str, Any]]:
        self._events = self._reader.read()
        return [event["record"] for event in self._events if "record" in event]

    def left_out(self) -> dict[str, str]:
        return {event["left_out"]: event["why"] for event in self._events if "left_out" in event}


def test_prompts_are_measured_beside_the_reference(sides: Sides, tmp_path: Path) -> None:
    part = Measured(tmp_path, NEVER)
    prompts.measure_prompts(sides, part.notes)
    rows = [row for row in part.records() if "request" in row]
    whats = {prompts.FIRST, prompts.FIRST_BOXES, prompts.SECOND, prompts.THRESHOLD}
    assert {(row["computed in"], row["request"]) for row in rows} == {
        (precision, what) for precision in ("fp32", "bf16") for what in whats
    }
    for row in rows:
        assert row["times faster"] == pytest.approx(row["reference, ms"] / row["ours, ms"])
        assert row["rounds"] == row["of the reference"] == 1
    assert part.left_out() == {}


def test_goals_are_those_of_a_gpu(sides: Sides) -> None:
    calls = {
        ("fp16", prompts.FIRST): Figure(29.0, 5),
        ("fp16", prompts.SECOND): Figure(29.0, 5),
        ("fp32", prompts.REFERENCE): Figure(90.0, 5),
    }
    on_gpu = Sides("full", "cuda", sides.album, "")
    first, second = prompts._records(on_gpu, prompts.SIZES_WH[0], calls)
    assert first["verdict"] == PASS
    assert "verdict" not in second
    calls["fp16", prompts.FIRST] = Figure(31.0, 5)
    [slow, _] = prompts._records(on_gpu, prompts.SIZES_WH[0], calls)
    assert slow["verdict"] == FAIL
    assert not [
        row for row in prompts._records(sides, prompts.SIZES_WH[0], calls) if "verdict" in row
    ]


def test_clients_are_measured_beside_one_of_the_reference(sides: Sides, tmp_path: Path) -> None:
    part = Measured(tmp_path, NEVER)
    clients.measure_clients(sides, part.notes)
    rows = part.records()
    assert [(row["clients"], row["request"]) for row in rows] == [
        (count, what) for what in ("boxes and masks", "boxes") for count in clients.CLIENTS
    ]
    for row in rows:
        ratio = row["images a second"] / row["one client of the reference"]
        assert row["times"] == pytest.approx(ratio)


def test_answers_of_other_weights_do_not_keep_the_rule(
    sides: Sides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "_COUNT", 7)
    part = Measured(tmp_path, NEVER)
    proposals.measure_proposals(sides, part.notes)
    fp32, bf16 = part.records()
    assert (fp32["boxes"], fp32["verdict"]) == (7, FAIL)
    assert bf16["keeps the rule"] is False


@pytest.mark.parametrize(
    "measure", [prompts.measure_prompts, clients.measure_clients, encoders.measure_encoders]
)
def test_what_there_is_no_time_for_is_named(measure: Any, sides: Sides, tmp_path: Path) -> None:
    part = Measured(tmp_path, AT_ONCE)
    measure(sides, part.notes)
    assert part.records() == []
    assert set(part.left_out().values()) == {NO_TIME}


def test_calls_take_turns_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    order: list[str] = []

    def call(name: str, seconds: float) -> float:
        order.append(name)
        now[0] += seconds
        return seconds + len(order)

    monkeypatch.setattr("benchmarks.gpu.measuring.time.time", lambda: now[0])
    calls = {"quick": lambda: call("quick", 1), "slow": lambda: call("slow", 20)}
    found = in_turns(calls, 4, Budget(46.0))
    # Slow once more would end after its time; quick ones still fit.
    assert order == ["quick", "slow", "quick", "slow", "quick", "quick", "quick"]
    assert found["quick"].rounds == 4
    assert found["slow"] == Figure(24.0, 1)
    now[0], order[:] = 0.0, []
    assert in_turns(calls, 4, Budget(0.5)) == {"quick": Figure(2.0, 0)}


def test_a_difference_is_beside_what_is_expected() -> None:
    from benchmarks.gpu.ways import difference

    one, other = (torch.ones(4), torch.zeros(2) + 2), (torch.ones(4), torch.zeros(2) + 4)
    assert difference(one, other) == pytest.approx(0.5)
    assert difference(one, one) == 0
