"""The first page of the benchmark: what is asked of whom and in which order; never a second."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import first_page, preannotating
from benchmarks.asking import Album
from benchmarks.bench import Bench
from benchmarks.first_page import FirstPage
from benchmarks.full_size import Folders
from benchmarks.goals import FP32, Figures, Goal, goals, share_over, table
from benchmarks.reference import Answer
from benchmarks.report import Record, Row
from benchmarks.side_service import Held, SideFiles
from benchmarks.sides import HERE, Agreement, SideError
from benchmarks.stages import OTHER_THRESHOLD, PROMPT, QUICK
from benchmarks.timing import WHOLE, Seconds
from grounded_labeler.models.runtime.device import Compute

pytestmark = pytest.mark.slow

SAME, OTHER = Agreement(1.0, 0.99), Agreement(0.45, 0.98)
GIB = 2**30


@pytest.mark.parametrize(
    ("value", "agreement", "reached"),
    [(1.7, SAME, True), (1.69, SAME, False), (2.1, OTHER, False), (2.1, None, False)],
)
def test_a_speed_counts_only_with_the_same_answers(
    value: float, agreement: Agreement | None, reached: bool
) -> None:
    goal = Goal("a", "a", 1.7, "{}", answers=FP32)
    assert goal.is_reached(value, agreement) is reached
    assert replace(goal, answers=None).is_reached(value, None) is (value >= 1.7)
    assert replace(goal, at_least=False).is_reached(value, SAME) is (value <= 1.7)


def test_the_table_has_a_line_for_each_goal_with_both_sides_and_agreement_beside() -> None:
    now = Figures({"share": 0.8, "ready": 4.96}, {FP32: SAME})
    before = Figures({"share": 0.35, "ready": 15.0}, {FP32: OTHER})
    records = {str(one["goal"]): one for one in table(goals(["bf16"], "before"), now, before)}
    share = records["detection, of the measured matrix speed"]
    assert list(share.values())[1:] == ["35%", "45%, 0.980", "80%", "100%, 0.990", ">= 70%", True]
    ready = records["start of the service to /ready"]
    assert list(ready.values())[1:] == ["15.0 s", "", "5.0 s", "", "<= 5.0 s", True]
    most = records["memory at most, 16 clients"]
    assert list(most.values())[1:] == ["not measured", "", "not measured", "", "<= 3.50 GiB", ""]
    assert "second prompt, same image, bf16, times fp32 before" in records
    assert len(records) == 9
    alone = table(goals([], "now"), now, None)
    assert len(alone) == 7
    assert not any("before" in key for record in alone for key in record)


def test_what_a_run_takes_over_the_models_is_told_for_200_images() -> None:
    measured = {"images": 8, "start": 10.0, "end": 2.0, "run": 33.0, "alone": 32.0}
    assert share_over(measured) == pytest.approx((10 + 199 / 8 * 33 + 2) / 800 - 1)
    # The first image, four seconds, is in the start.
    assert share_over({**measured, "start": 4, "end": 0, "run": 32.0}) == pytest.approx(0)


class FakeSide:
    """Answers at once that it took `seconds`, half of them in another precision than fp32."""

    def __init__(self, name: str, log: list[str], seconds: float, *, has_half: bool) -> None:
        self.name, self._log, self._seconds, self._has_half = name, log, seconds, has_half
        self._precision = ""

    def precisions(self) -> list[str]:
        return ["fp32", "bf16", "fp16"]

    def load(self, folders: Folders, threads: int, precision: str = FP32) -> None:
        if precision != FP32 and not self._has_half:
            raise SideError("This processor has no bf16.")
        self._precision = precision
        self._log.append(f"{self.name} loads {precision}")

    def ask(self, image: str, prompt: str, count: int, threshold: float = 0.0) -> Seconds:
        name = image.rpartition("/")[2]
        self._log.append(f"{self.name} {self._precision} {name} {prompt} {count} {threshold:g}")
        seconds = self._seconds if self._precision == FP32 else self._seconds / 2
        return {"detect": seconds, WHOLE: seconds + 1}

    def agreement(self, image: str, caption: str, reference: Answer) -> Agreement:
        self._log.append(f"{self.name} {self._precision} agrees on {image}")
        assert (caption, len(reference.boxes)) == (PROMPT, 50)
        return SAME if self._precision == FP32 else OTHER


class FakeReference:
    """Takes 12 s, and always finds as many boxes as it should."""

    def __init__(self, log: list[str]) -> None:
        self._log, self._count = log, 0

    def threshold(self, image: object, caption: str, count: int) -> float:
        self._count = count
        return 0.5

    def whole(self, url: str, caption: str, threshold: float) -> Answer:
        self._log.append("reference")
        boxes = np.zeros((self._count, 4), np.float32)
        return Answer({"detect": 12.0, WHOLE: 50.0}, boxes, boxes[:, 0], None, "")


@dataclass
class Page:
    """A page whose sides, reference and commands are faked; `log` is what they were asked."""

    measure: Callable[..., list[Record]]
    log: list[str]
    rows: list[Row]


@pytest.fixture
def made_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    log: list[str] = []
    folders = Folders(tmp_path, tmp_path, tmp_path)
    bench = Bench(
        Album(), "http://127.0.0.1:1", folders, Compute(), {"GFLOP/s float32": 100}, rounds=2
    )
    bench.console.quiet = True
    vars(bench)["reference"] = FakeReference(log)
    made = Page(lambda: [], log, [])

    @contextmanager
    def held(files: SideFiles, requests: Sequence[object]) -> Iterator[Callable[[], Held]]:
        log.append(f"{files.name} serves {len(requests)}")
        now = files.name == "now"

        def rest() -> Held:
            log.append(f"{files.name} rests")
            return Held(4, GIB, (3 if now else 6) * GIB)

        yield rest

    def preannotated(files: SideFiles, images: Path, out: Path) -> dict[str, float]:
        log.append(f"{files.name} preannotates {len(list(images.iterdir()))}")
        return {"images": 8, "start": 4.0, "run": 33.0, "end": 0.0, "alone": 32.0}

    def files(self: SideFiles, name: str, *_: object) -> None:
        self.name = name

    monkeypatch.setattr(SideFiles, "__init__", files)
    monkeypatch.setattr(SideFiles, "make_graphs", lambda self: log.append(f"{self.name} graphs"))
    monkeypatch.setattr(first_page, "held", held)
    monkeypatch.setattr(preannotating, "measure", preannotated)

    def measure(before: Path | None = None, *, has_half: bool = True) -> list[Record]:
        @contextmanager
        def opened(name: str, checkout: Path) -> Iterator[FakeSide]:
            assert checkout == (HERE if name == "now" else before)
            yield FakeSide(name, log, 3.0 if name == "now" else 6.0, has_half=has_half)
            log.append(f"{name} ends")

        one = FirstPage(bench, before, opened)
        records = one.measure()
        made.rows = one.rows
        return records

    made.measure = measure
    return made


def test_every_side_is_asked_the_same_in_turns(made_page: Page, tmp_path: Path) -> None:
    made_page.measure(tmp_path)
    begin = made_page.log.index("now loads fp32") + 1
    asked = [line.partition(" ")[::2] for line in made_page.log[begin:]]
    # One turn to warm up, in which the reference has its turn last, and then two.
    who = [name for name, *_ in asked[:15]]
    turn = ["before", "before", "now", "now"]
    assert who == [*turn, "reference", "reference", *turn, "reference", *turn]
    for start in (0, 6, 11):
        (first, second), others = (
            [what for _, what in asked[start : start + 2]],
            [what for _, what in asked[start + 2 : start + 4]],
        )
        assert [first, second] == others
        # The second prompt is another one, on the same image.
        assert first.split()[1] == second.split()[1]
        assert first != second
    images = [what.split()[1] for name, what in asked[:15] if name == "now"]
    assert len(set(images)) == 3, "each turn has an image that nobody has seen"


def test_the_figures_are_ratios_to_the_reference_and_to_the_side_before(
    made_page: Page, tmp_path: Path
) -> None:
    records = {str(one["goal"]): one for one in made_page.measure(tmp_path)}
    told = {goal: (one["before"], one["now"], one["reached"]) for goal, one in records.items()}
    assert told == {
        # 660 GFLOP in 3 and 6 seconds, of 100 GFLOP/s.
        "detection, of the measured matrix speed": ("110%", "220%", True),
        "detection, times the reference": ("2.00x", "4.00x", True),
        # 7 seconds in fp32 before, 2.5 in half precision now; but only 45 % are the same.
        "first prompt, bf16, times fp32 before": ("1.00x", "2.80x", False),
        "second prompt, same image, bf16, times fp32 before": ("1.00x", "2.80x", False),
        "new threshold, 12 MP, 50 masks, times the reference": ("7x", "12x", False),
        "start of the service to /ready": ("4.0 s", "4.0 s", True),
        "memory at rest, after 16 clients": ("1.00 GiB", "1.00 GiB", True),
        "memory at most, 16 clients": ("6.00 GiB", "3.00 GiB", True),
        "preannotate, 200 images, over the models' own time": ("+3.1%", "+3.1%", False),
    }
    assert made_page.rows[-1] == Row(QUICK.name, WHOLE, 4.0, 50.0)


def test_without_a_side_before_its_column_is_left_out(made_page: Page) -> None:
    records = made_page.measure()
    assert not any("before" in str(key) for record in records for key in record)
    assert not any(line.startswith("before") for line in made_page.log)
    [first] = [one for one in records if str(one["goal"]).startswith("first prompt")]
    assert first["goal"] == "first prompt, bf16, times fp32 now"
    assert first["now"] == "1.60x"  # 4 seconds to 2.5


def test_where_the_processor_has_no_half_precision_the_line_says_so(made_page: Page) -> None:
    records = made_page.measure(has_half=False)
    [first] = [one for one in records if str(one["goal"]).startswith("first prompt")]
    assert (first["now"], first["reached"]) == ("not measured", "")
    assert made_page.log.count("now preannotates 8") == 1, "the rest is measured all the same"


def test_the_models_of_the_sides_are_gone_when_the_services_start(
    made_page: Page, tmp_path: Path
) -> None:
    made_page.measure(tmp_path)
    last = max(number for number, line in enumerate(made_page.log) if line.endswith(" ends"))
    assert made_page.log[last + 1 :] == [
        "before graphs", "now graphs", "before serves 16", "now serves 16",
        "before rests", "now rests", "before preannotates 8", "now preannotates 8",
    ]  # fmt: skip
    large = [line for line in made_page.log if line.startswith("now fp32 4000x3000")]
    assert [line.rpartition(" ")[2] for line in large] == [
        "0", f"{OTHER_THRESHOLD:g}", f"{2 * OTHER_THRESHOLD:g}",
    ]  # fmt: skip
    assert sum("agrees on" in line for line in made_page.log) == 5, (
        "fp32 and 12 MP of both, and half"
    )
