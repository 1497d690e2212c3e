"""Measures what the first page shows, in ten minutes on two idle cores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import preannotating, stages
from benchmarks.asking import body, config
from benchmarks.bench import Bench
from benchmarks.goals import FP32, LARGE, Figures, goals, share_over, table
from benchmarks.images import SIZES_WH
from benchmarks.machine import resident_bytes
from benchmarks.reference import Answer
from benchmarks.report import Record, Row, rows
from benchmarks.side_service import Held, SideFiles, held
from benchmarks.sides import HERE, Side, SideError, open_side
from benchmarks.timing import WHOLE, Seconds

_LARGE = stages.Case(SIZES_WH[-1], 50)
_AGREEING = 50  # boxes of the reference that a side's are compared with
_HALF = ("mixed", "bf16")  # of a CPU; the reference is in fp32
_CLIENTS, _GIB = 16, 2**30
_DETECT, _SECOND = "detect", "second"
BEFORE, NOW = "before", "now"


@dataclass(frozen=True)
class Asked:
    """The seconds of one turn of a side: a first prompt, and another one on that image."""

    first: Seconds
    second: Seconds


class FirstPage:
    """The figures of this checkout and, where there is one, of the one `before`."""

    def __init__(
        self,
        bench: Bench,
        before: Path | None,
        open_one: Callable[[str, Path], Any] = open_side,
    ) -> None:
        """`open_one` opens a side of a name and a checkout, as `open_side` does."""
        self._bench, self._open = bench, open_one
        self._checkouts = {NOW: HERE} if before is None else {BEFORE: before, NOW: HERE}
        self.figures = {name: Figures() for name in self._checkouts}
        self.precisions: list[str] = []
        self.rows: list[Row] = []

    def measure(self) -> list[Record]:
        """The table; `rows` then has the stages of a first prompt, now and the reference's."""
        answer = self._in_fp32()
        for precision in self.precisions:
            self._in_half(precision, *answer)
        # Nothing else is in memory when the services are measured.
        vars(self._bench).pop("reference", None)
        files = {name: self._files(name) for name in self._checkouts}
        self._services(files)
        self._preannotations(files)
        wanted = goals(self.precisions, self._base)
        return table(wanted, self.figures[NOW], self.figures.get(BEFORE))

    @property
    def _base(self) -> str:
        """The side whose fp32 half precision is compared with."""
        return BEFORE if BEFORE in self._checkouts else NOW

    def _in_fp32(self) -> tuple[str, Answer]:
        """Speeds in fp32; returns the reference's answer, after the image that it is for."""
        case, bench = stages.QUICK, self._bench
        reference = stages.reference_of(bench, case)
        with self._sides() as sides:
            known = sides[NOW].precisions()
            self.precisions = [name for name in _HALF if name in known][:1]
            self._say(f"{case.name}: the reference and {' and '.join(sides)}, in turns")
            self._turn(sides)
            reference()
            turns = [(reference().seconds, self._turn(sides)) for _ in range(bench.rounds)]
            theirs = [seconds for seconds, _ in turns]
            for name in sides:
                own = [asked[name].first for _, asked in turns]
                values = self.figures[name].values
                values[_DETECT] = _median(theirs, _DETECT) / _median(own, _DETECT)
                values["share"] = bench.share_of_matmul(_median(own, _DETECT), case.size_wh)
            self.rows = rows(case.name, [asked[NOW].first for _, asked in turns], theirs)
            answers = {
                FP32: self._answer(stages.Case(case.size_wh, _AGREEING)),
                LARGE: self._answer(_LARGE),
            }
            for name, side in sides.items():
                self._say(f"{_LARGE.name}, {name}: another threshold on that image")
                seconds = self._thresholds(side)
                values = self.figures[name].values
                values["threshold"] = answers[LARGE][1].seconds[WHOLE] / seconds
                for what, (image, answer) in answers.items():
                    agreement = side.agreement(image, stages.PROMPT, answer)
                    self.figures[name].agreements[what] = agreement
        return answers[FP32]

    def _in_half(self, precision: str, image: str, answer: Answer) -> None:
        """Half precision of this checkout, in turns with fp32 of the one before, if there is one.

        `answer` is the reference's for `image` of the album.
        """
        bench, base = self._bench, self._base
        self._say(f"{stages.QUICK.name}: {precision}, in turns with fp32 ({base})")
        with self._opened(base) as whole, self._opened(NOW) as half:
            whole.load(bench.folders, bench.compute.threads)
            try:
                half.load(bench.folders, bench.compute.threads, precision)
            except SideError as error:  # this processor has none
                self._say(str(error))
                return
            sides = {FP32: whole, precision: half}
            self._turn(sides)
            turns = [self._turn(sides) for _ in range(bench.rounds)]
            self.figures[NOW].agreements[precision] = half.agreement(image, stages.PROMPT, answer)
        self._compare(precision, turns)

    def _compare(self, precision: str, turns: Sequence[Mapping[str, Asked]]) -> None:
        for key in ("first", _SECOND):
            whole, half = (
                median(getattr(turn[name], key)[WHOLE] for turn in turns)
                for name in (FP32, precision)
            )
            self.figures[NOW].values[f"{key} {precision}"] = whole / half
            if (before := self.figures.get(BEFORE)) is not None:  # it is what is compared with
                before.values[f"{key} {precision}"] = 1.0
                before.agreements[precision] = before.agreements[FP32]

    def _services(self, files: Mapping[str, SideFiles]) -> None:
        if resident_bytes() is None:
            self._say("the service: not measured, as only Linux tells what a process holds")
            return
        requests = [
            body([self._bench.new_image(stages.QUICK.size_wh)], stages.PROMPT, _masks())
            for _ in range(_CLIENTS)
        ]
        with ExitStack() as stack:
            waiting: dict[str, Callable[[], Held]] = {}
            for name, one in files.items():
                self._say(f"the service, {name}: start, then {_CLIENTS} clients at once")
                waiting[name] = stack.enter_context(held(one, requests))
            for name, measure in waiting.items():
                self._say(f"the service, {name}: at rest")
                measured, values = measure(), self.figures[name].values
                values["ready"] = measured.ready_s
                values["rest"], values["most"] = measured.at_rest / _GIB, measured.most / _GIB

    def _preannotations(self, files: Mapping[str, SideFiles]) -> None:
        with TemporaryDirectory() as folder:
            images = preannotating.write_images(Path(folder), self._bench.album)
            for name, one in files.items():
                self._say(f"preannotate, {name}: {preannotating.IMAGES} images")
                measured = preannotating.measure(one, images, Path(folder) / name)
                self.figures[name].values["preannotate"] = share_over(measured)

    def _turn(self, sides: Mapping[str, Side]) -> dict[str, Asked]:
        """A first and a second prompt on an image that nobody has seen, one side at a time."""
        bench, case = self._bench, stages.QUICK
        image, first, second = bench.new_image(case.size_wh), bench.new_prompt(), bench.new_prompt()
        return {
            name: Asked(side.ask(image, first, case.count), side.ask(image, second, case.count))
            for name, side in sides.items()
        }

    def _thresholds(self, side: Side) -> float:
        """The median of seconds of another threshold, each one that nobody asked for."""
        image, prompt = self._bench.new_image(_LARGE.size_wh), self._bench.new_prompt()
        side.ask(image, prompt, _LARGE.count)
        return median(
            side.ask(image, prompt, _LARGE.count, stages.OTHER_THRESHOLD * number)[WHOLE]
            for number in range(1, self._bench.rounds + 1)
        )

    def _answer(self, case: stages.Case) -> tuple[str, Answer]:
        self._say(f"{case.name}: the reference")
        bench = self._bench
        image = bench.album.new(case.size_wh)
        return image, stages.reference_of(bench, case, image)()

    @contextmanager
    def _sides(self) -> Iterator[dict[str, Side]]:
        """All sides, loaded in fp32."""
        with ExitStack() as stack:
            sides = {name: stack.enter_context(self._opened(name)) for name in self._checkouts}
            for name, side in sides.items():
                self._say(f"loading the models, {name}; the first time it makes graphs: 2 minutes")
                side.load(self._bench.folders, self._bench.compute.threads)
            yield sides

    @contextmanager
    def _opened(self, name: str) -> Iterator[Side]:
        with self._open(name, self._checkouts[name]) as side:
            yield side

    def _files(self, name: str) -> SideFiles:
        self._say(f"graphs of the service, {name}; the first time it makes them: 2 minutes")
        files = SideFiles(name, self._checkouts[name], self._bench.folders)
        files.make_graphs()
        return files

    def _say(self, what: str) -> None:
        self._bench.say(what)


def _masks() -> str:
    return config(stages.QUICK.count, masks=True)


def _median(taken: Sequence[Seconds], stage: str) -> float:
    return median(seconds[stage] for seconds in taken)
