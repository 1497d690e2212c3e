"""Counts, answers and arithmetic of the benchmarks; never a second."""

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from groundingdino.util.inference import load_image
from label_studio_sdk.converter import brush
from PIL import Image
from rich.console import Console
from transformers import BertConfig, SwinConfig

from benchmarks import (
    answers,
    clicks,
    clients,
    detectors,
    growth,
    images,
    machine,
    memory,
    report,
    run_lengths,
    stages,
)
from benchmarks.__main__ import main
from benchmarks.asking import Album, Request, body, config, prompt_of, prompts
from benchmarks.bench import Bench
from benchmarks.full_size import Folders, vocabulary
from benchmarks.holding import BOXES, MASKS, OURS
from benchmarks.ours import ModelStages, Ours, model_runs
from benchmarks.panels import panels
from benchmarks.reference import Answer, Reference
from benchmarks.report import Row
from benchmarks.stages import Case
from benchmarks.timing import STAGES, WHOLE, Stopwatch, alternating
from grounded_labeler.cache import ByteCache
from grounded_labeler.core.boxes import from_cxcywh, from_percent
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import (
    Boxes,
    DecodedImage,
    Detections,
    RGBImage,
    Scores,
    Thresholds,
)
from grounded_labeler.images.decode import decode
from grounded_labeler.label_studio import region_values, task_images
from grounded_labeler.label_studio.brush_rle import decode_rle
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from tests.helpers.small_reference import small_reference

pytestmark = pytest.mark.slow

CAPTION = "cat . a small blue bird ."
SIZE_WH = (160, 120)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return small_reference(tmp_path_factory.mktemp("bert"))


def ask(reference: Reference, count: int, *, with_masks: bool) -> Answer:
    data = images.jpeg(SIZE_WH)
    image = np.asarray(Image.open(io.BytesIO(data)))
    threshold = reference.threshold(image, CAPTION, count)
    with images.serving({"a.jpg": data}) as address:
        return reference.whole(f"{address}/a.jpg", CAPTION, threshold, with_masks=with_masks)


@pytest.mark.parametrize("count", [1, 7])
def test_the_reference_finds_as_many_boxes_as_were_asked_for(
    reference: Reference, count: int
) -> None:
    answer = ask(reference, count, with_masks=True)
    assert answer.boxes.shape == (count, 4)
    assert answer.scores.shape == (count,)
    assert answer.masks is not None
    assert answer.masks.shape == (count, SIZE_WH[1], SIZE_WH[0])
    assert answer.masks.dtype == np.bool_
    results = json.loads(answer.body)["result"]
    assert len(results) == count
    for result, mask in zip(results, answer.masks, strict=True):
        drawn = brush.decode_rle(result["value"]["rle"]).reshape(*mask.shape, 4)[..., 3]
        np.testing.assert_array_equal(drawn > 0, mask)


def test_every_stage_of_the_reference_is_timed_and_the_stages_are_the_whole(
    reference: Reference,
) -> None:
    seconds = ask(reference, 2, with_masks=True).seconds
    assert seconds.keys() == {*STAGES, WHOLE} - {"NMS"}
    assert all(value > 0 for value in seconds.values())
    assert sum(seconds[stage] for stage in STAGES if stage in seconds) <= seconds[WHOLE]


def test_boxes_only(reference: Reference) -> None:
    answer = ask(reference, 3, with_masks=False)
    assert answer.masks is None
    assert not {"segment-encode", "segment-decode", "RLE"} & answer.seconds.keys()
    for result, box in zip(json.loads(answer.body)["result"], answer.boxes, strict=True):
        value = result["value"]
        start = np.array([value["x"] * SIZE_WH[0], value["y"] * SIZE_WH[1]]) / 100
        np.testing.assert_allclose(start, box[:2], atol=1e-3)


def test_the_answer_is_that_of_the_packages_functions(reference: Reference, tmp_path: Path) -> None:
    from groundingdino.util.inference import predict

    path = tmp_path / "a.jpg"
    path.write_bytes(images.jpeg(SIZE_WH))
    full = Reference(reference._detector, reference._predictor.model)
    image, pixels = full._load_image(path, Stopwatch())
    theirs, their_pixels = load_image(str(path))
    np.testing.assert_array_equal(image, theirs)
    assert torch.equal(pixels, their_pixels)

    threshold = reference.threshold(image, CAPTION, 4)
    _, pixels = reference._load_image(path, Stopwatch())
    boxes, scores, _ = predict(reference._detector, pixels, CAPTION, threshold, 0.25, "cpu")
    answer = ask(reference, 4, with_masks=True)
    np.testing.assert_allclose(answer.scores, scores.numpy(), atol=1e-6)
    np.testing.assert_allclose(answer.boxes, from_cxcywh(boxes.numpy(), SIZE_WH), atol=1e-3)
    reference._predictor.set_image(image)
    for box, mask in zip(
        answer.boxes, answer.masks if answer.masks is not None else (), strict=True
    ):
        alone, _, _ = reference._predictor.predict(box=box, multimask_output=False)
        np.testing.assert_array_equal(alone[0], mask)


def test_the_vocabulary_has_the_entries_that_the_model_looks_for() -> None:
    words = vocabulary()
    assert len(words) == len(set(words)) == 30522
    named = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    assert {word: words.index(word) for word in named} == named
    assert (words[1012], words[1029]) == (".", "?")
    assert {"cat", "person", "hat", "a", "##a", "z", "##z"} <= set(words)


@pytest.mark.parametrize("size_wh", [(640, 480), (321, 123)])
def test_images_decode_to_their_size_and_are_always_the_same(size_wh: tuple[int, int]) -> None:
    data = images.jpeg(size_wh)
    assert Image.open(io.BytesIO(data)).size == size_wh
    assert data == images.jpeg(size_wh)
    assert data != images.jpeg(size_wh, seed=1)


def test_an_image_has_the_file_size_of_a_photograph() -> None:
    assert 100_000 < len(images.jpeg((640, 480))) < 200_000


def test_the_server_has_the_images_and_nothing_else() -> None:
    with images.serving({"a.jpg": b"one"}) as address, requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{address}/a.jpg", timeout=60).content == b"one"
        assert session.get(f"{address}/b.jpg", timeout=60).status_code == 404


class Clock:
    """A clock that moves when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, seconds: float) -> float:
        self.now += seconds
        return seconds


def test_a_stage_within_a_stage_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Stopwatch()
    with watch.whole():
        with watch.stage("outer"), watch.calls(clock, "work", "inner"):
            clock.now += 2
            assert clock.work(5) == 5
            clock.work(1)
        clock.work(10)
        with watch.stage("outer"):
            clock.now += 1
    assert watch.seconds == {"outer": 3, "inner": 6, WHOLE: 19}
    assert "work" not in vars(clock)


def test_stages_of_threads_are_not_within_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Stopwatch()

    def elsewhere() -> None:
        with watch.stage("b"):
            clock.now += 5

    with ThreadPoolExecutor(1) as pool, watch.stage("a"):
        clock.now += 1
        pool.submit(elsewhere).result()
        with watch.stage("c"):
            clock.now += 2
    assert watch.seconds == {"a": 6, "b": 5, "c": 2}


def test_rounds_alternate() -> None:
    ran: list[str] = []

    def run(name: str) -> int:
        ran.append(name)
        return len(ran)

    ours, theirs = alternating(lambda: run("a"), lambda: run("b"), 2)
    assert (ran, ours, theirs) == (["a", "b", "a", "b"], [1, 3], [2, 4])
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        alternating(lambda: 1, lambda: 2, 0)


def test_rows_are_medians_in_the_order_of_a_request() -> None:
    ours = [{WHOLE: 3.0, "JSON": 1.0, "NMS": 0.5}, {WHOLE: 5.0, "JSON": 2.0}, {WHOLE: 4.0}]
    theirs = [{WHOLE: 8.0, "JSON": 3.0, "decode": 1.0}] * 3
    table = report.rows("small", ours, theirs)
    assert table == [
        Row("small", "decode", None, 1.0),
        Row("small", "NMS", 0.0, None),
        Row("small", "JSON", 1.0, 3.0),
        Row("small", WHOLE, 4.0, 8.0),
    ]
    assert [row.ratio for row in table] == [None, None, 3.0, 2.0]


def test_what_is_part_of_a_stage_follows_it() -> None:
    seconds = {WHOLE: 3.0, "JSON": 1.0, "detect: b": 1.0, "detect: a": 1.0, "detect": 2.0, "x": 1.0}
    order = [row.stage for row in report.rows("small", [seconds], [])]
    assert order == ["detect", "detect: a", "detect: b", "JSON", "x", WHOLE]


def test_the_report_is_written_in_three_forms(tmp_path: Path) -> None:
    table = [
        Row("small", "NMS", 0.0004, None, "a note"),
        Row("small", WHOLE, 4.0, 8.0),
        Row("large", WHOLE, 2.0, 1.0),
    ]
    written = io.StringIO()
    report.print_table(table, Console(file=written, width=100))
    lines = [line.replace("│", "").split() for line in written.getvalue().splitlines()]
    assert ["small", "NMS", "0.40", "a", "note"] in lines
    assert [WHOLE, "4,000", "8,000", "2.00"] in lines
    assert ["large", WHOLE, "2,000", "1,000", "0.50"] in lines

    report.write_json(tmp_path / "new" / "a.json", table, {"cores": 2}, date="2030-01-02")
    content = json.loads((tmp_path / "new" / "a.json").read_text())
    assert content["date"] == "2030-01-02"
    assert content["machine"] == {"cores": 2}
    assert content["rows"][1] == {
        "case": "small", "stage": WHOLE, "ours": 4.0, "reference": 8.0, "note": "",
        "ratio": 2.0,
    }  # fmt: skip
    records: list[report.Record] = [{"what": "a", "share": 0.12345, "held": 1}, {"what": "b"}]
    report.write_json(tmp_path / "b.json", table, {}, records={"memory": records})
    content = json.loads((tmp_path / "b.json").read_text())
    assert "date" not in content
    assert content["memory"] == records
    report.print_records("Memory", records, Console(file=written, width=100))
    lines = [line.replace("│", "").split() for line in written.getvalue().splitlines()]
    assert ["a", "0.1235", "1"] in lines
    assert ["b"] in lines

    report.plot(tmp_path / "a.png", table)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > image.height > 100


def test_the_machine_s_facts_go_into_json() -> None:
    assert machine.cpu_name()
    assert machine.matmul_gflops(torch.float32, side=64) > 0
    assert machine.versions()["torch"].startswith(torch.__version__.split("+")[0])
    held, most = machine.resident_bytes(), machine.peak_resident_bytes()
    if held is not None and most is not None:
        assert 2**20 < held <= most


OBJECTS = 4


@pytest.fixture(scope="module")
def ours() -> Ours:
    """One for all tests, on demo models that its observer watches."""
    observer, cache = ModelStages(), ByteCache(2**26)
    detector = load_detector(
        "transformers", DETECTORS["demo"].folder(Path()), Options(cache=cache, observer=observer)
    )
    folder = SEGMENTERS["demo"].folder(Path())
    segmenter = load_segmenter("sam", folder, Compute(), cache=cache, observer=observer)
    return Ours(detector, segmenter, cache, observer)


@pytest.fixture(scope="module")
def album() -> Album:
    """One for all tests: the demo detector remembers the images of earlier ones."""
    return Album()


@pytest.fixture
def bench(ours: Ours, reference: Reference, album: Album, tmp_path: Path) -> Iterator[Bench]:
    folders = Folders(tmp_path, tmp_path, tmp_path)
    facts = {"GFLOP/s float32": 100, "GFLOP/s bfloat16": 200}
    with images.serving(album) as address:
        bench = Bench(album, address, folders, Compute(), facts, rounds=1)
        bench.console.quiet = True
        vars(bench).update(ours=ours, reference=reference)
        yield bench


def the_pipelines(pipeline: Pipeline, image: RGBImage, prompt: str) -> InferenceResult:
    limits = Thresholds(box=0, text=0, nms=1, max_regions=OBJECTS)
    job = InferenceRequest(
        DecodedImage.of(image), parse_prompt(prompt, ()), (), limits, with_masks=True
    )
    [found] = pipeline.run([job])
    return found


def test_ours_answers_as_the_pipeline_does(bench: Bench, demo_pipeline: Pipeline) -> None:
    address, prompt = bench.new_image(SIZE_WH), bench.new_prompt()
    image = decode(bench.album[address.rpartition("/")[2]])
    found = the_pipelines(demo_pipeline, image, prompt)
    assert found.masks is not None

    [regions] = bench.ours.ask(body([address], prompt, config(OBJECTS, masks=False))).regions
    values = [region["value"] for region in regions]
    corners = np.array([[v["x"], v["y"], v["width"], v["height"]] for v in values])
    np.testing.assert_allclose(from_percent(corners, SIZE_WH), found.detections.boxes, atol=0.01)

    [regions] = bench.ours.ask(body([address], prompt, config(OBJECTS, masks=True))).regions
    assert len(regions) == OBJECTS
    for region, mask in zip(regions, found.masks, strict=True):
        drawn = decode_rle(region["value"]["rle"], mask.size_hw)
        np.testing.assert_array_equal(drawn, mask.full())


def test_every_stage_of_ours_is_timed_and_nothing_stays_timed(bench: Bench) -> None:
    before = vars(region_values)["encode_rle"], vars(task_images)["decode"]
    served = stages.ask(bench.ours, bench.new_image(SIZE_WH), "nobody asked this", OBJECTS)
    assert served.seconds.keys() == {*STAGES, WHOLE, "detect: backbone", "detect: fusion"}
    assert all(value > 0 for value in served.seconds.values())
    assert sum(served.seconds[stage] for stage in STAGES) <= served.seconds[WHOLE]
    assert (vars(region_values)["encode_rle"], vars(task_images)["decode"]) == before
    assert (
        not {"encode_image", "decode", "encode_text", "prepare"} & vars(bench.ours.detector).keys()
    )


def test_what_is_known_of_an_image_is_not_computed_again(bench: Bench) -> None:
    image, prompt, other = bench.new_image(SIZE_WH), bench.new_prompt(), bench.new_prompt()
    first = stages.ask(bench.ours, image, prompt, OBJECTS)
    second = stages.ask(bench.ours, image, other, OBJECTS)
    threshold = stages.ask(bench.ours, image, other, OBJECTS, threshold=1e-6)
    # What was read of a prompt is kept: other tests may have had the first two read before.
    assert {"text": 1, **first.runs} == {
        "text": 1, "backbone": 1, "fusion": 1, "encoder": 1, "decoder": 1,
    }  # fmt: skip
    assert {"text": 1, **second.runs} == {"text": 1, "fusion": 1, "decoder": 1}
    assert threshold.runs == {}
    told = stages.runs_of([first, threshold, threshold])
    assert re.fullmatch(
        "model runs: backbone 1, decoder 1, encoder 1, fusion 1(, text 1)? [|] none", told
    )
    new = stages.ask(bench.ours, bench.new_image(SIZE_WH), other, OBJECTS)
    assert {"text": 1, **new.runs} == {"text": 1, **first.runs}


def test_too_few_objects_are_an_error(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="1000 objects were to be found, and 30 were"):
        stages.ask(bench.ours, bench.new_image(SIZE_WH), "circle", 1000, masks=False)
    with pytest.raises(RuntimeError, match="1000 objects were to be found in each image"):
        clients.at_once(bench.ours, [bench.new_image(SIZE_WH)], masks=False, count=1000)


def test_what_is_not_answered_is_an_error(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="1 objects were to be found, and 0 were"):
        stages.ask(bench.ours, f"{bench.address}/none.jpg", "circle", 1)
    with pytest.raises(RuntimeError, match=r"answered 400: .*label config"):
        bench.ours.post(body(["a.jpg"], "circle", "<View/>"))


def test_a_case_gives_its_rows(bench: Bench) -> None:
    table = stages._case_rows(bench, Case(SIZE_WH, 3))
    wholes = {row.case: row for row in table if row.stage == WHOLE}
    first, second, threshold = wholes.values()
    assert list(wholes) == [
        "160x120, 3 boxes", "160x120, 3 boxes: second prompt", "160x120, 3 boxes: new threshold",
    ]  # fmt: skip
    assert threshold.note == "model runs: none"
    assert first.reference == second.reference == threshold.reference
    assert None not in {first.ours, second.ours, threshold.ours}
    [detect] = [row for row in table if row.stage == "detect"]
    assert re.fullmatch(r"\d+% of float32 matmul, reference \d+%", detect.note)


def test_clients_at_once_are_all_answered(bench: Bench) -> None:
    before = model_runs().get("backbone", 0)
    seconds = clients.at_once(
        bench.ours, [bench.new_image(SIZE_WH) for _ in range(3)], masks=True, count=2
    )
    assert seconds > 0
    assert model_runs()["backbone"] == before + 3


def test_clicks_come_one_after_the_other_with_those_before_them() -> None:
    drawn = clicks.Clicks.draw(4, seed=1)
    sent = [one["params"]["context"]["result"] for one in drawn.requests("a.jpg")]
    assert [len(shapes) for shapes in sent] == [1, 2, 3, 4]
    assert all(sent[-1][: len(shapes)] == shapes for shapes in sent)
    assert sent[0][0]["is_positive"]
    assert [shape["value"]["x"] for shape in sent[-1]] == drawn.xy[:, 0].tolist()
    assert clicks.Clicks.draw(4, seed=1).xy.tolist() == drawn.xy.tolist()
    assert clicks.Clicks.draw(4, seed=2).requests("a.jpg") != drawn.requests("a.jpg")


def test_only_the_first_click_encodes_the_image(bench: Bench, reference: Reference) -> None:
    before = model_runs()
    table = clicks.alone(bench, bench.ours, reference._predictor, "tiny", SIZE_WH, count=3)
    rows = {(row.case, row.stage): row for row in table}
    for what in (clicks.FIRST, clicks.FURTHER):
        for stage in ("segment-decode", "mask resize", WHOLE, clicks.P95):
            row = rows[f"tiny: {what}", stage]
            assert row.ours is not None
            assert row.ratio is not None
    assert rows[f"tiny: {clicks.FIRST}", "segment-encode"].ratio is not None
    assert (f"tiny: {clicks.FURTHER}", "segment-encode") not in rows
    after = model_runs()
    # A round, and one that warms up.
    assert after["encoder"] == before.get("encoder", 0) + 2
    assert after["decoder"] == before.get("decoder", 0) + 6
    assert after.get("backbone") == before.get("backbone")


@pytest.mark.parametrize(("annotators", "beside"), [(3, False), (1, True)])
def test_clicks_of_many_and_beside_pre_annotation(
    bench: Bench, annotators: int, beside: bool
) -> None:
    before = model_runs()
    table = clicks.busy(
        bench, bench.ours, "busy", SIZE_WH,
        annotators=annotators, beside=beside, count=2, pause_s=0,
    )  # fmt: skip
    assert [(row.case, row.stage) for row in table] == [
        (f"busy: {what}", stage)
        for what in (clicks.FIRST, clicks.FURTHER)
        for stage in (WHOLE, clicks.P95)
    ]
    assert all(row.ours and row.reference is None for row in table)
    after = model_runs()
    assert after["encoder"] >= before.get("encoder", 0) + annotators
    assert (after.get("backbone", 0) > before.get("backbone", 0)) is beside


def test_growth_is_told_per_task(bench: Bench) -> None:
    def make(turn: int) -> Request:
        images = [bench.new_image(SIZE_WH) for _ in range(2)]
        return body(images, prompt_of(2, turn), config(3, masks=True))

    record = growth.measured(bench.ours, "tasks", "2", make)
    assert record["whole, s"] == pytest.approx(2 * record["whole per task, s"])
    assert 0 < record["detect, s"] < record["whole, s"]


def test_images_of_an_album_look_alike_and_are_other_files() -> None:
    album = Album()
    one, other = (album[album.new(SIZE_WH)] for _ in range(2))
    assert one != other
    np.testing.assert_array_equal(decode(one), decode(other))
    assert decode(one).shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert album.get("favicon.ico") is None


def test_prompts_are_new_and_of_equally_many_known_words() -> None:
    known, made = set(vocabulary()), list(prompts())
    assert len(made) == len(set(made)) > 1000
    assert {len(prompt.split(" ")) for prompt in made} == {3}
    assert known.issuperset(" ".join(made).split(" "))
    turns = [prompt_of(60, turn).split(" . ") for turn in range(4)]
    assert [len(set(phrases)) for phrases in turns] == [60] * 4
    assert len(set().union(*turns)) == 240
    assert known.issuperset(" ".join(map(" ".join, turns)).split(" "))


def test_rle_is_compared_with_the_sdk_s(monkeypatch: pytest.MonkeyPatch) -> None:
    row = run_lengths.measure(1, (400, 300))
    assert "the same" in row.note
    assert row.ours is not None
    monkeypatch.setattr(run_lengths, "encode_rle", lambda mask: [0])
    with pytest.raises(RuntimeError, match="not that of Label Studio's SDK"):
        run_lengths.measure(1, (400, 300))


def boxes_of(*rows: tuple[float, ...]) -> tuple[Boxes, Scores]:
    """Rows of four sides and a score."""
    array = np.array(rows, np.float32).reshape(-1, 5)
    return array[:, :4], array[:, 4]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([], [], []),
        ([(0, 0, 9, 9, 0.5)], [], []),
        ([], [(0, 0, 9, 9, 0.5)], []),
        ([(0, 0, 9, 9, 0.5)], [(1, 0, 8, 9, 0.509)], [(0, 0)]),
        ([(0, 0, 9, 9, 0.5)], [(0, 0, 9, 10.1, 0.5)], []),  # one side is too far off
        ([(0, 0, 9, 9, 0.5)], [(0, 0, 9, 9, 0.52)], []),  # so is the score
        # Two alike are two, whatever their order, and each is matched once.
        ([(0, 0, 9, 9, 0.4), (0, 0, 9, 9, 0.409)], [(0, 0, 9, 9, 0.405)], [(1, 0)]),
        ([(0, 0, 9, 9, 0.4)], [(0, 1, 9, 9, 0.4), (0, 0.5, 9, 9, 0.4)], [(0, 1)]),
    ],
)  # fmt: skip
def test_which_boxes_are_the_same(
    one: list[tuple[float, ...]],
    other: list[tuple[float, ...]],
    expected: list[tuple[int, int]],
) -> None:
    assert answers.pairs(boxes_of(*one), boxes_of(*other)) == expected


def test_the_same_answers_pass_and_others_fail(demo_pipeline: Pipeline) -> None:
    found = the_pipelines(demo_pipeline, images.draw(SIZE_WH), "red circle")
    same = answers.compared("demo", "again", [found], [found])
    assert (same["boxes"], same["the same"], same["share"]) == (OBJECTS, OBJECTS, 1)
    assert (same["mean mask IoU"], same[answers.RULE]) == (1, "pass")
    fewer = replace(
        found,
        detections=Detections(
            found.detections.boxes[1:],
            found.detections.scores[1:],
            found.detections.phrases[1:],
            found.detections.labels[1:],
        ),
        masks=(found.masks or [])[1:],
    )
    for one, other in ((found, fewer), (fewer, found)):
        missed = answers.compared("demo", "again", [one], [other])
        assert (missed["the same"], missed[answers.RULE]) == (OBJECTS - 1, "FAIL")


def test_proposals_are_all_that_the_detector_has(ours: Ours) -> None:
    boxes, scores = answers.proposals(ours, images.draw(SIZE_WH), "red circle")
    assert boxes.shape == (30, 4)
    assert scores.shape == (30,)


def test_memory_is_compared_with_two_workers() -> None:
    mib = {OURS: (100, 500, 600), BOXES: (80, 80, 90), MASKS: (100, 100, 200)}
    held = {
        what: {"idle": idle * 2**20, "resident": resident * 2**20, "peak": peak * 2**20}
        for what, (idle, resident, peak) in mib.items()
    }
    table = memory.compared(held)
    assert [row["idle, MiB"] for row in table] == [100, 160, 200]
    assert [row["after work, MiB"] for row in table] == [500, 160, 200]
    assert [row["peak, MiB"] for row in table] == [600, 180, 400]
    assert [row["ours to it"] for row in table] == [1, 100 / 160, 0.5]
    assert [row["ours at most 55%"] for row in table] == ["", "FAIL", "pass"]


def test_the_share_of_the_machine_s_speed(bench: Bench) -> None:
    # 660 GFLOP in 6.6 s are all of 100 GFLOP/s; a third smaller in pixels, a third less to do.
    assert bench.share_of_matmul(6.6, (640, 480)) == pytest.approx(1, abs=0.001)
    assert bench.share_of_matmul(6.6, (4000, 3000), "bfloat16") == pytest.approx(0.5, abs=0.001)
    assert bench.share_of_matmul(6.6, (1333, 400)) == pytest.approx(
        1333 * 400 / 800 / 1066, abs=0.01
    )
    assert bench.share_of_matmul(None, (640, 480)) == 0


def test_each_panel_of_the_plot_has_its_rows() -> None:
    small, ways = stages.CASES[0].name, stages.QUICK.name
    table = [
        Row(small, "detect", 1, 2), Row(small, WHOLE, 1, 2),
        Row(ways, "detect", 1, 2), Row(ways, WHOLE, 1, 2),
        Row(f"{small}: second prompt", WHOLE, 1, 2), Row(f"{ways}: second prompt", WHOLE, 1, 2),
        Row(f"{ways}, torch fp32", "detect", 1, 2), Row("4 clients, boxes", clients.STAGE, 1, None),
    ]  # fmt: skip
    shown = [(row.case, row.stage) for row in panels(table)]
    assert shown == [
        (ways, "detect"), (ways, WHOLE),
        ("whole requests", small), ("whole requests", ways),
        ("whole requests", f"{ways}: second prompt"),
        (f"{ways}, other ways to compute", "torch fp32: detect"),
        ("seconds per image, clients at once", "4 clients, boxes"),
    ]  # fmt: skip


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "everything"])
    assert "invalid choice: 'everything'" in capsys.readouterr().err


def test_two_detectors_are_compared_stage_by_stage_in_turns() -> None:
    asked: list[str] = []

    def side(name: str, *fusions: float) -> Callable[[], dict[str, float]]:
        seconds = iter([9.0, *fusions])  # the first run compiles graphs and does not count

        def ask() -> dict[str, float]:
            asked.append(name)
            one = dict.fromkeys(detectors.STAGES, 0.25)
            return {**one, "detect: fusion": next(seconds)}

        return ask

    table = detectors.compared(side("llmdet", 2.0, 1.0, 4.0), side("dino", 4.0, 4.0, 1.0), rounds=3)
    assert asked == ["llmdet", "dino"] * 4
    assert [record["stage"] for record in table] == list(detectors.STAGES)
    ratios = {record["stage"]: record["ratio"] for record in table}
    assert ratios == {**dict.fromkeys(detectors.STAGES, 1.0), "detect: fusion": 0.5}


def test_every_stage_of_a_detector_is_timed() -> None:
    observer = ModelStages()
    detector = load_detector(
        "transformers", DETECTORS["demo"].folder(Path()), Options(observer=observer)
    )
    seconds = detectors.Timed(detector, observer, (64, 48)).ask()
    assert {*detectors.STAGES} <= seconds.keys()
    assert all(seconds[stage] > 0 for stage in detectors.STAGES)


def test_the_compared_detectors_are_of_one_size_with_the_heads_that_are_published() -> None:
    """Counted without memory for the weights; the figures are those of the published files."""
    sizes = {}
    for name, (config_class, model_class, flags) in detectors.CLASSES.items():
        config = config_class(
            backbone_config=SwinConfig(**detectors.SWIN_T), text_config=BertConfig(), **flags
        )
        with torch.device("meta"):
            made = model_class(config)
        sizes[name] = sum(one.numel() for one in made.parameters()) / 1e6
    assert sizes["grounding-dino-tiny"] == pytest.approx(172, abs=1)
    assert sizes["llmdet-tiny"] == pytest.approx(172.9, abs=0.5)
