"""The main table: what each stage of a request costs, ours and the reference in turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.asking import body, config
from benchmarks.bench import Bench
from benchmarks.images import SIZES_WH
from benchmarks.ours import Ours, Served
from benchmarks.reference import Answer
from benchmarks.report import Row, rows
from benchmarks.timing import WHOLE, alternating
from grounded_labeler.errors import SettingsError
from grounded_labeler.images.decode import decode
from grounded_labeler.models.runtime.device import Compute

COUNTS = (1, 10, 50)
PROMPT = "cat . dog"  # the reference's, which keeps nothing: an old one costs what a new one does
SECOND, THRESHOLD = "second prompt", "new threshold"
OTHER_THRESHOLD = 1e-6  # below the score of whatever is found: as many objects come out
# Masks x pixels from which the reference holds gigabytes and writes RLE for minutes.
_HEAVY = 400_000_000
_OF_MODELS = ("detect", "segment-encode", "segment-decode", "mask resize", WHOLE)


@dataclass(frozen=True)
class Case:
    """An image and how many objects are found in it."""

    size_wh: tuple[int, int]
    count: int

    @property
    def name(self) -> str:
        width, height = self.size_wh
        return f"{width}x{height}, {self.count} box{'es' if self.count > 1 else ''}"

    @property
    def is_heavy(self) -> bool:
        """Whether the reference takes minutes for it."""
        width, height = self.size_wh
        return width * height * self.count > _HEAVY


QUICK = Case((640, 480), 10)
CASES = tuple(Case(size_wh, count) for size_wh in SIZES_WH for count in COUNTS)


def measure(bench: Bench) -> list[Row]:
    """The rows of all cases, then those of other ways to compute the models."""
    table: list[Row] = []
    for case in (QUICK,) if bench.is_quick else CASES:
        bench.say(case.name)
        table += _case_rows(bench, case)
    for name, precision, compute, exported in (
        ("OpenVINO bf16", "bfloat16", replace(bench.compute, precision="bf16"), True),
        ("torch fp32", "float32", bench.compute, False),
    ):
        bench.say(f"{QUICK.name}, {name}")
        table += _way_rows(bench, f"{QUICK.name}, {name}", precision, compute, exported=exported)
    return table


def _case_rows(bench: Bench, case: Case) -> list[Row]:
    """First prompt by stage; then another prompt and another threshold on that image.

    For these two the reference does its whole request again.
    """
    ask_reference = reference_of(bench, case)

    def ask_ours() -> tuple[Served, Served, Served]:
        image, second = bench.new_image(case.size_wh), bench.new_prompt()
        return (
            ask(bench.ours, image, bench.new_prompt(), case.count),
            ask(bench.ours, image, second, case.count),
            ask(bench.ours, image, second, case.count, threshold=OTHER_THRESHOLD),
        )

    ask_ours()
    if not case.is_heavy:
        ask_reference()
    asked, answers = alternating(ask_ours, ask_reference, 1 if case.is_heavy else bench.rounds)
    theirs = [answer.seconds for answer in answers]
    first, second, threshold = zip(*asked, strict=True)
    table = rows(case.name, [served.seconds for served in first], theirs)
    *table, whole = _with_share(bench, case, table)
    note = "; one round, the reference not warmed up" if case.is_heavy else ""
    table.append(replace(whole, note=f"{runs_of(first)}{note}"))
    for name, served in ((SECOND, second), (THRESHOLD, threshold)):
        again = rows(f"{case.name}: {name}", [one.seconds for one in served], theirs)
        table.append(replace(again[-1], note=runs_of(served)))
    return table


def _way_rows(
    bench: Bench, name: str, precision: str, compute: Compute, *, exported: bool
) -> list[Row]:
    """What the models cost, computed in another way; one row that says why not, if it cannot."""
    try:
        ours = Ours.load(bench.folders, compute, exported=exported)
    except SettingsError as error:
        return [Row(name, WHOLE, None, None, str(error))]
    ask_reference = reference_of(bench, QUICK)

    def ask_ours() -> Served:
        return ask(ours, bench.new_image(QUICK.size_wh), bench.new_prompt(), QUICK.count)

    ask_ours()
    asked, answers = alternating(ask_ours, ask_reference, bench.rounds)
    table = rows(name, [served.seconds for served in asked], [answer.seconds for answer in answers])
    table = [row for row in table if row.stage in _OF_MODELS]
    return _with_share(bench, QUICK, table, precision)


def ask(
    ours: Ours, image: str, prompt: str, count: int, *, masks: bool = True, threshold: float = 0.0
) -> Served:
    """One prompt on one image; raises RuntimeError when not `count` objects are found."""
    served = ours.ask(body([image], prompt, config(count, masks=masks, threshold=threshold)))
    [regions] = served.regions
    if len(regions) != count:
        raise RuntimeError(f"{count} objects were to be found, and {len(regions)} were.")
    return served


def runs_of(served: Sequence[Served]) -> str:
    """Which parts of the models ran how often, in each round where they differ."""
    told = [_told(one.runs) for one in served]
    return f"model runs: {' | '.join(dict.fromkeys(told))}"


def _told(runs: Mapping[str, int]) -> str:
    return ", ".join(f"{part} {count}" for part, count in sorted(runs.items())) or "none"


def reference_of(bench: Bench, case: Case, image: str | None = None) -> Callable[[], Answer]:
    """What asks the reference for `case`, of an image of the album; of a new one if None."""
    image = image or bench.album.new(case.size_wh)
    threshold = bench.reference.threshold(decode(bench.album[image]), PROMPT, case.count)

    def ask_reference() -> Answer:
        answer = bench.reference.whole(f"{bench.address}/{image}", PROMPT, threshold)
        if len(answer.boxes) != case.count:
            raise RuntimeError(f"The reference found {len(answer.boxes)}, not {case.count}.")
        return answer

    return ask_reference


def _with_share(
    bench: Bench, case: Case, table: Sequence[Row], precision: str = "float32"
) -> list[Row]:
    """The rows, the detector's with how much of torch's matmul speed both sides reach."""

    def noted(row: Row) -> Row:
        if row.stage != "detect":
            return row
        own = bench.share_of_matmul(row.ours, case.size_wh, precision)
        theirs = bench.share_of_matmul(row.reference, case.size_wh)
        return replace(row, note=f"{own:.0%} of {precision} matmul, reference {theirs:.0%}")

    return [noted(row) for row in table]
