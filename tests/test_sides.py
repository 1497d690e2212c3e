"""The sides of the benchmark: code of another checkout in processes of its own; never a second."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import preannotating, side_command, side_service, side_worker, sides
from benchmarks.asking import Album
from benchmarks.full_size import Folders
from benchmarks.reference import Answer
from benchmarks.side_service import SideFiles
from benchmarks.sides import HERE, Agreement, Side, SideError, check_checkout, open_side
from benchmarks.timing import WHOLE
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.checksums import sha256_of

pytestmark = pytest.mark.slow


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
    from grounded_labeler.core.masks import Mask

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
    assert measured["images"] == 2, "the first one counts to the start"
    assert all(value > 0 for value in measured.values())
    assert measured["busy"] <= measured["run"]
    # Once to warm up, then the run, then the models alone on images that nothing is kept of.
    assert len(runs) == len(set(runs)) == 1 + 3 + 2
    assert (tmp_path / "out" / "coco.json").is_file()
