"""The first page of the benchmark: what is asked of whom and in which order; never a second."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import first_page, preannotating, side_command, side_service, side_worker, sides
from benchmarks.asking import Album
from benchmarks.bench import Bench
from benchmarks.first_page import FirstPage
from benchmarks.full_size import Folders
from benchmarks.goals import FP32, Figures, Goal, goals, share_over, table
from benchmarks.reference import Answer
from benchmarks.report import Record, Row
from benchmarks.side_service import Held, SideFiles
from benchmarks.sides import HERE, Agreement, Side, SideError, check_checkout, open_side
from benchmarks.stages import OTHER_THRESHOLD, PROMPT, QUICK
from benchmarks.timing import WHOLE, Seconds
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.checksums import sha256_of

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
    measured = {"images": 8, "start": 6.0, "end": 2.0, "run": 33.0, "alone": 32.0}
    assert share_over(measured) == pytest.approx((6 + 2 + 825) / 800 - 1)
    assert share_over({**measured, "start": 0, "end": 0, "run": 32.0}) == pytest.approx(0)


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
        return {"images": 8, "start": 0.0, "run": 33.0, "end": 0.0, "alone": 32.0}

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


class Fake:
    """In the place of a worker: what it is asked comes back."""

    def ask(self, **given: object) -> dict[str, object]:
        if given["image"] == "bad":
            raise RuntimeError("3 objects were to be found, and 0 were.")
        return {"seconds": {WHOLE: float(str(given["count"]))}}


def test_a_line_is_answered_with_a_line_and_an_error_with_its_sentence() -> None:
    lines = [{"do": "ask", "image": image, "count": 3} for image in ("good", "bad", "good")]
    answers = io.StringIO()
    side_worker.serve(Fake(), io.StringIO("".join(f"{json.dumps(a)}\n" for a in lines)), answers)
    one, bad, again = map(json.loads, answers.getvalue().splitlines())
    assert one == again == {"seconds": {WHOLE: 3.0}}
    assert bad == {"error": "RuntimeError: 3 objects were to be found, and 0 were."}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another checkout, whose package and benchmarks are a few lines."""
    monkeypatch.setattr(sides, "OUTPUT", tmp_path / "output")
    root = tmp_path / "older"
    files = {
        "grounded_labeler/__init__.py": "",
        "grounded_labeler/models/runtime/device.py": """
            from typing import Literal
            print("packages print what they like")
            Precision = Literal["fp32", "bf16"]
            class Compute:
                def __init__(self, threads, precision):
                    self.threads, self.precision = threads, precision
        """,
        "benchmarks/__init__.py": "",
        "benchmarks/machine.py": "def pin_threads(count): pass",
        "benchmarks/full_size.py": "from collections import namedtuple\n"
        "Folders = namedtuple('Folders', 'detector tokenizer segmenter')",
        "benchmarks/asking.py": """
            def body(images, prompt, config): return images, prompt, config
            def config(count, masks, threshold): return count
        """,
        "benchmarks/ours.py": """
            import os
            from types import SimpleNamespace
            class Ours:
                @classmethod
                def load(cls, folders, compute):
                    if compute.precision == "bf16":
                        raise ValueError("no bf16 here")
                    return cls()
                def ask(self, asked):
                    images, prompt, count = asked
                    if prompt == "die":
                        os._exit(3)
                    return SimpleNamespace(
                        seconds={"whole": float(os.getpid())}, runs={}, regions=[[{}] * count]
                    )
        """,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.splitlines()
        cut = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
        path.write_text("\n".join(line[cut:] for line in lines))
    return root


def test_a_side_runs_the_code_of_its_checkout_in_a_process_of_its_own(checkout: Path) -> None:
    folders = Folders(Path("a"), Path("b"), Path("c"))
    with open_side("before", checkout) as side:
        assert side.precisions() == ["fp32", "bf16"]
        with pytest.raises(SideError, match="before: ValueError: no bf16 here"):
            side.load(folders, 2, "bf16")
        side.load(folders, 2)
        first, second = (side.ask("a.jpg", prompt, 3) for prompt in ("cat", "dog"))
        assert first == second
        assert first[WHOLE] != 0
        with pytest.raises(SideError, match=r"before: its process has ended\. .*they like"):
            side.ask("a.jpg", "die", 3)


def test_boxes_are_looked_for_among_all_that_a_side_proposes(tmp_path: Path) -> None:
    from grounded_labeler.coco import coco_rle
    from grounded_labeler.core.types import Mask

    boxes = np.array([[0, 0, 9, 9], [20, 20, 40, 40]], np.float32)
    full = np.zeros((2, 50, 50), np.bool_)
    full[0, :9, :9], full[1, 20:40, 20:40] = True, True
    reference = Answer({}, boxes, np.array([0.9, 0.5], np.float32), full, "")

    class Told(Side):
        def _call(self, do: str, **given: object) -> dict[str, Any]:
            half = full[1].copy()
            half[30:] = False
            return {
                "boxes": [[1, 1, 2, 2], [20.5, 20, 40, 40], [0, 0, 9, 12]],
                "scores": [0.9, 0.505, 0.9],
                "masks": [coco_rle(Mask.from_full(one)) for one in (full[0], half)],
            }

    agreement = Told("now", None, tmp_path).agreement("a.jpg", "cat", reference)  # type: ignore[arg-type]
    assert agreement == Agreement(0.5, 0.75)
    assert str(agreement) == "50%, 0.750"


def test_what_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_checkout(HERE) == HERE
    with pytest.raises(ValueError, match="has no grounded_labeler and no benchmarks"):
        check_checkout(tmp_path)
    with pytest.raises(SystemExit):
        command.main(["--before", str(tmp_path)])
    assert "git worktree add" in capsys.readouterr().err


def test_all_and_one_part_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--all", "--only", "clicks"])
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.fixture
def files(tmp_path: Path) -> SideFiles:
    folders = Folders(tmp_path / "detector", tmp_path / "bert", tmp_path / "sam")
    for folder, name in (
        (folders.detector, "groundingdino_swint_ogc.pth"),
        (folders.tokenizer, "vocab.txt"),
        (folders.segmenter, "mobile_sam.pt"),
    ):
        folder.mkdir()
        (folder / name).write_text(name)
    return SideFiles("now", HERE, folders, tmp_path / "output")


def test_a_side_has_the_weights_without_a_copy_and_a_folder_of_its_own(
    files: SideFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRECISION", "bf16")
    environ = files.environ(MAX_REGIONS="10")
    weights = Path(environ["MODEL_DIR"]) / "sam" / "mobile_sam.pt"
    assert weights.samefile(tmp_path / "sam" / "mobile_sam.pt")
    size, digest = json.loads(environ["SUMS"])["mobile_sam.pt"]
    assert (size, digest) == (13, sha256_of(weights))
    assert environ["MAX_REGIONS"] == "10"
    assert "PRECISION" not in environ, "a setting of the caller's would be measured"
    assert environ["PYTHONPATH"] == str(HERE)


def test_the_catalog_states_the_sums_of_the_random_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector, segmenter = side_command.PUBLISHED
    models = (
        {name: DETECTORS[name] for name in (detector,)},
        {name: SEGMENTERS[name] for name in (segmenter,)},
    )
    copies = []
    for own in models:
        for name, model in own.items():
            parts = [replace(p, files=tuple(map(replace, p.files))) for p in model.parts]
            copies.append({name: replace(parts[0], shared=tuple(parts[1:]))})
    monkeypatch.setattr("grounded_labeler.weights.catalog.DETECTORS", copies[0])
    monkeypatch.setattr("grounded_labeler.weights.catalog.SEGMENTERS", copies[1])
    named = [f for own in copies for m in own.values() for p in m.parts for f in p.files]
    side_command.put_into_catalog({file.name: (7, "ab") for file in named})
    assert {(file.bytes, file.sha256) for file in named} == {(7, "ab")}
    assert {file.name for file in named} == {
        "groundingdino_swint_ogc.pth", "vocab.txt", "mobile_sam.pt",
    }  # fmt: skip
    assert DETECTORS[detector].files[0].bytes > 7


def test_what_a_command_complains_of_is_in_the_error(
    files: SideFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "command.py"
    script.write_text("import sys; print('half'); sys.exit('no space left')")
    monkeypatch.setattr(side_service, "_COMMAND", script)
    with pytest.raises(RuntimeError, match="now, weights: half\n no space left"):
        files.make_graphs()


def test_the_largest_process_of_a_service_is_the_one_that_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_service, "_children", lambda pid: [2, 3] if pid == 1 else [])
    monkeypatch.setattr(side_service, "resident_bytes", {1: 10, 2: 30, 3: None}.get)
    assert side_service._largest(1) == 2


def test_a_run_of_preannotate_is_told_apart_from_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = preannotating.write_images(tmp_path, Album(), 3)
    assert len({path.read_bytes() for path in images.iterdir()}) == 3
    for name in ("DETECTOR", "SEGMENTER"):
        monkeypatch.setenv(name, "demo")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("MAX_REGIONS", "2")
    from grounded_labeler.models.pipeline import Pipeline

    runs: list[str] = []
    original = Pipeline.run

    def run(self: Pipeline, requests: Sequence[Any]) -> Any:
        runs.extend(request.image.key for request in requests)
        return original(self, requests)

    monkeypatch.setattr(Pipeline, "run", run)
    measured = side_command.preannotate(str(images), str(tmp_path / "out"))
    assert measured.keys() == {"images", "start", "run", "busy", "end", "alone"}
    assert measured["images"] == 3
    assert all(value > 0 for value in measured.values())
    assert measured["busy"] <= measured["run"]
    # Once to warm up, then the run, then the models alone on images that nothing is kept of.
    assert len(runs) == len(set(runs)) == 1 + 3 + 3
    assert (tmp_path / "out" / "coco.json").is_file()
