"""Graphs made once and computed by OpenVINO answer as torch does, whatever the size."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.models.detectors import (
    Detector,
    Options,
    from_folder,
    from_parts,
    load_detector,
)
from grounded_labeler.models.detectors import huggingface_build as hf
from grounded_labeler.models.detectors import official as groundingdino
from grounded_labeler.models.detectors.parts import TRACED_CAPTION, TRACED_HW, Parts
from grounded_labeler.models.export import export_dir
from grounded_labeler.models.runtime.choice import is_exported
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.graph import Graph, SubModel, Tensors
from grounded_labeler.models.runtime.openvino_export import export
from grounded_labeler.weights.catalog import DETECTORS
from tests.helpers.graphs import export_parts, make_graphs
from tests.helpers.parallel import threads
from tests.models.detectors.samples import best_boxes, sample
from tests.models.detectors.small_models import (
    DEMO,
    FAMILIES,
    answer,
    noise,
    save_tiny,
    save_vocabulary,
    small_model,
)
from tools.make_groundingdino_golden import SHORT_SIDE

# Both packages say so of functions that OpenVINO's converter calls.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::FutureWarning:torch.*", "ignore::FutureWarning:transformers.*"
    ),
]


class Times(nn.Module):
    """Any rows of 64, times a number: what is exported in a moment."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((64,), float(factor)))

    def forward(self, rows: Tensor) -> Tensors:
        return rows * self.factor, rows.sum(dim=0)


def times(factor: float, *, fixed_shapes: bool = False) -> dict[str, SubModel]:
    part = SubModel(Times(factor).eval(), lambda: (torch.randn(3, 64),), fixed_shapes)
    return {"first": part, "second": part}


def product(graphs: dict[str, Graph], rows: int = 3) -> float:
    (found, total) = graphs["first"](np.ones((rows, 64), np.float32))
    assert found.shape == (rows, 64)
    assert total.tolist() == [rows] * 64
    return float(found[0, 0])


def test_exported_parts_are_computed_from_the_files(tmp_path: Path) -> None:
    export_parts(times(2), tmp_path / "exported")
    graphs = make_graphs(times(3), Compute(), tmp_path / "exported")
    assert [product(graphs, rows) for rows in (3, 1, 50)] == [2, 2, 2]


def test_a_part_of_one_size_only_is_exported_for_that_size(tmp_path: Path) -> None:
    export_parts(times(2, fixed_shapes=True), tmp_path / "exported")
    assert product(make_graphs(times(3), Compute(), tmp_path / "exported")) == 2
    graph = openvino.Core().read_model(tmp_path / "exported" / "first.xml")
    assert graph.input(0).shape.to_string() == "[3,64]"


def test_an_export_leaves_nothing_else_and_replaces_an_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "exported"
    export_parts(times(2), folder)
    (folder / "of_another_version.xml").touch()
    export_parts(times(5), folder)
    assert list(folder.parent.iterdir()) == [folder]
    files = sorted(file.name for file in folder.iterdir())
    assert files == [
        "facts.json",
        "first.bin",
        "first.xml",
        "second.bin",
        "second.xml",
        "sums.json",
    ]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert product(make_graphs(times(3), Compute(), folder)) == 5


ALONE = """
import os, sys
from pathlib import Path

def refuse(event, args):
    if event in ("os.fork", "socket.getaddrinfo", "socket.connect"):
        print(event, args, file=sys.stderr)
        os._exit(1)

sys.addaudithook(refuse)
import torch
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import SubModel
from grounded_labeler.models.runtime.openvino_export import export

relu = SubModel(torch.nn.ReLU(), lambda: (torch.zeros(1, 2),))
export({"relu": relu}, Path("exported"), Compute())  # any facts
print("exported")
"""


def test_neither_loading_openvino_nor_an_export_tells_anybody(tmp_path: Path) -> None:
    """OpenVINO would, over the network and from a process that it forks."""
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3]), **threads()}
    run = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path, env=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout == "exported\n", run.stderr
    assert (tmp_path / "exported" / "relu.xml").is_file()
    assert not (tmp_path / "intel").exists(), "where it keeps a number for who it tells of"


@pytest.mark.parametrize(
    ("step", "error", "says"),
    [
        ("convert_model", RuntimeError, "no room"),
        ("save_model", OSError, "OpenVINO cannot write it"),
    ],
)
def test_an_export_that_fails_half_way_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: type[Exception],
    says: str,
) -> None:
    folder = tmp_path / "exported"
    export_parts(times(2), folder)
    works: Callable[..., object] = getattr(openvino, step)
    calls: list[int] = []

    def fails(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no room")
        return works(*args, **kwargs)

    monkeypatch.setattr(openvino, step, fails)
    before = torch.as_tensor
    for into in (folder, tmp_path / "new"):
        calls.clear()
        with pytest.raises(error, match=says):
            export_parts(times(5), into)
    assert list(tmp_path.iterdir()) == [folder]
    assert product(make_graphs(times(3), Compute(), folder)) == 2
    assert torch.as_tensor is before


@pytest.mark.parametrize("missing", ["first", "second"])
def test_torch_is_used_where_not_all_parts_were_exported(tmp_path: Path, missing: str) -> None:
    parts, folder = times(3), tmp_path / "exported"
    assert not is_exported(parts, folder)
    export_parts(times(2), folder)
    assert is_exported(parts, folder)
    (folder / f"{missing}.xml").unlink()
    assert not is_exported(parts, folder)
    assert product(make_graphs(parts, Compute(), folder)) == 3


@pytest.mark.parametrize("name", ["second.xml", "second.bin"])
@pytest.mark.parametrize("content", [b"", b"<html>Not Found</html>", "half"])
def test_a_damaged_file_is_named_with_the_way_to_make_it_again(
    tmp_path: Path, name: str, content: bytes | str
) -> None:
    export_parts(times(2), tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(WeightsError, match=r"second\.xml is damaged .* `make weights`") as caught:
        make_graphs(times(3), Compute(), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["first.xml", "first.bin"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 1.0])
def test_a_bit_that_changed_in_a_graph_is_damage(tmp_path: Path, name: str, place: float) -> None:
    """Most would not keep it from running."""
    export_parts(times(2), tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"first\.xml is damaged .* `make weights`"):
        make_graphs(times(3), Compute(), tmp_path)


def test_a_graph_of_another_model_under_the_name_is_damage(tmp_path: Path) -> None:
    export_parts(times(2), tmp_path / "own")
    other = SubModel(nn.Linear(8, 8).eval(), lambda: (torch.zeros(3, 8),))
    export_parts({"first": other}, tmp_path / "other")
    for name in ("first.xml", "first.bin"):
        shutil.copy(tmp_path / "other" / name, tmp_path / "own")
    with pytest.raises(WeightsError, match=r"first\.xml is damaged .* `make weights`"):
        make_graphs(times(3), Compute(), tmp_path / "own")


def test_missing_weights_beside_a_graph_are_damage(tmp_path: Path) -> None:
    export_parts(times(2), tmp_path)
    (tmp_path / "first.bin").unlink()
    with pytest.raises(WeightsError, match=r"first\.xml is damaged .* `make weights`"):
        make_graphs(times(3), Compute(), tmp_path)


@pytest.mark.parametrize(
    ("precision", "capabilities"),
    [
        ("bf16", ["FP32", "INT8"]),
        ("mixed", ["FP32", "INT8"]),
        ("fp16", ["FP32", "BF16"]),
        ("fp16", ["FP32", "BF16", "FP16"]),
    ],
)
def test_a_precision_that_the_cpu_cannot_compute_in_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    capabilities: list[str],
) -> None:
    """fp16 always: OpenVINO would compute in bf16, or in float32, and not say so."""
    export_parts(times(2), tmp_path)
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: capabilities)
    with pytest.raises(SettingsError, match=f"PRECISION={precision}: .*use fp32"):
        make_graphs(times(3), Compute(precision=precision), tmp_path)


def test_float32_asks_nothing_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_parts(times(2), tmp_path)
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: [])
    assert product(make_graphs(times(3), Compute(), tmp_path)) == 2


class Exported(NamedTuple):
    """A model as it is loaded, and where its graphs were written."""

    load: Callable[[], Parts]
    folder: Path


@pytest.fixture(scope="module")
def demo_graphs(exported_demo: Path) -> Path:
    return export_dir(DETECTORS["demo"], exported_demo)


@pytest.fixture(scope="module")
def demo_detector(demo_graphs: Path) -> Detector:
    """The demo detector computed by OpenVINO; it keeps nothing."""
    return load_detector("transformers", DEMO, Options(exported=demo_graphs))


@pytest.fixture(scope="module", params=["groundingdino", *FAMILIES])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The small models of all three families."""
    folder = tmp_path_factory.mktemp("exported")
    load: Callable[[], Parts]
    if request.param == "groundingdino":
        model = small_model(save_vocabulary(folder))

        def load() -> Parts:
            return groundingdino.split(model)

    else:
        saved = save_tiny(folder / "tiny", request.param)

        def load() -> Parts:
            return hf.load(saved)

    parts = load()
    export(parts.graphs, folder / "graphs", parts.facts, parts.tokenizer)
    return Exported(load, folder / "graphs")


@pytest.fixture(scope="module")
def pair(exported: Exported) -> "Pair":
    return Pair(exported)


class Pair:
    """The same model computed by torch and by OpenVINO."""

    def __init__(self, exported: Exported) -> None:
        parts = exported.load()
        self.queries = parts.facts.queries
        self.proposed: list[Tensor] = []
        [score] = [
            module
            for name, module in parts.graphs["fusion"].module.named_modules()
            if name.endswith(("enc_out_class_embed", "encoder_output_class_embed"))
        ]
        score.register_forward_hook(lambda *call: self.proposed.append(call[2].max(-1).values))
        options = Options(short_side=SHORT_SIDE)
        self.torch, self.openvino = (
            from_parts(parts, options),
            from_folder(exported.folder, options),
        )

    def clear_pixels(self, size_hw: tuple[int, int], caption: str) -> NDArray[np.float32]:
        """Noise (1, 3, h, w) in which no two of the best proposals have nearly the same score.

        Where they have, rounding may let them change places, and what a box becomes
        depends on its place. Those of exactly the same score are all outside the image.
        """
        for seed in range(20):
            noise = np.random.default_rng(seed).normal(0, 1, (1, 3, *size_hw)).astype(np.float32)
            self.proposed.clear()
            answer(self.torch, noise, [caption])
            gaps = -self.proposed[0][0].topk(self.queries + 1).values.diff()
            if gaps[gaps > 0].min() > 1e-4:
                return noise
        raise AssertionError("no image has clear proposals")


# What decides, and does not only compute: an error of rounding before it is one of a whole cell.
DECIDING = {
    "Ceiling", "Equal", "Floor", "FloorMod", "Greater", "GreaterEqual", "Interpolate", "IsFinite",
    "IsInf", "IsNaN", "Less", "LessEqual", "Mod", "NonZero", "NotEqual", "Range", "Round", "Sign",
    "TopK",
}  # fmt: skip
# A point on the border of two cells gives the one that rounding adds or leaves out the weight 0
# (point_sampling.py); linspace counts whole numbers; transformers' Swin compares those of the
# parts of a window, 0 to 8; and topk ranks what is proposed, as it is the model's to do.
LOOKED_INTO = ("sampling/", "aten::linspace/", "swin.encoder.layers.", "aten::topk/")


def all_nodes(model: openvino.Model) -> Iterator[openvino.Node]:
    """Those of `model` and of the bodies of its loops."""
    for node in model.get_ops():
        yield node
        if node.get_type_name() == "TensorIterator":
            yield from all_nodes(node.get_function())


def test_no_float_decides_in_a_graph_unless_it_was_looked_into(exported: Exported) -> None:
    """A new one may make the graph another model, as comparing with 0.99 once did."""
    core, deciding = openvino.Core(), set()
    for file in sorted(exported.folder.glob("*.xml")):
        for node in all_nodes(core.read_model(file)):
            kind, made = node.get_type_name(), node.output(0).get_element_type()
            decides = kind in DECIDING or (kind == "Convert" and made.is_integral())
            if decides and node.input(0).get_element_type().is_real():
                deciding.add(node.get_friendly_name())
    assert any("aten::topk/" in name for name in deciding), "the ranking of proposals is one"
    assert [name for name in deciding if not any(part in name for part in LOOKED_INTO)] == []


WORD = "cat ."
PHRASES = "a small blue bird . red dog . hat ."
MANY = " . ".join(f"{a}{b}" for a in "bcdef" for b in "ghijklmnop") + " ."


@pytest.mark.parametrize(
    ("size_hw", "caption"),
    [
        pytest.param((224, 224), WORD, id="square, whole windows"),
        pytest.param((96, 96), PHRASES, id="square"),
        pytest.param((64, 200), MANY, id="wide"),
        pytest.param((200, 64), WORD, id="tall"),
        pytest.param((97, 131), PHRASES, id="wide, odd"),
        pytest.param((131, 97), MANY, id="tall, odd"),
        pytest.param((30, 480), WORD, id="a strip"),
        pytest.param((480, 31), PHRASES, id="a strip upright"),
        pytest.param((33, 47), WORD, id="small"),
        pytest.param((33, 47), PHRASES, id="small, some phrases"),
        pytest.param((33, 47), MANY, id="small, many phrases"),
        pytest.param(TRACED_HW, TRACED_CAPTION, id="as traced"),
    ],
)
def test_openvino_answers_as_torch_does(pair: Pair, size_hw: tuple[int, int], caption: str) -> None:
    pixels = pair.clear_pixels(size_hw, caption)
    for one, other in zip(
        pair.torch.encode_image(pixels), pair.openvino.encode_image(pixels), strict=True
    ):
        np.testing.assert_allclose(other, one, atol=1e-4, rtol=0)
    encoded, also = (each.encode_text([caption]) for each in (pair.torch, pair.openvino))
    for one, other in zip(encoded, also, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5, rtol=0)
    boxes, scores = answer(pair.openvino, pixels, [caption])
    their_boxes, their_scores = answer(pair.torch, pixels, [caption])
    # A thousandth of a pixel.
    np.testing.assert_allclose(boxes, their_boxes, atol=1e-3 / max(size_hw), rtol=0)
    np.testing.assert_allclose(scores, their_scores, atol=1e-4, rtol=0)
    assert scores.max() > 0.01, "the scores must not all be nothing"


def test_images_of_any_shape_in_one_call(pair: Pair) -> None:
    sizes = [(48, 96), (96, 48), (64, 64), (300, 1), (1, 1), (3, 300)]
    images = [DecodedImage.of(noise(*size)) for size in sizes]
    found = pair.openvino.detect(images, [["cat", "red hat"]] * 6)
    for one in found:
        assert one.boxes.shape == (pair.queries, 4)
        assert one.peaks.shape == (pair.queries, 2)
        assert np.isfinite(one.boxes).all()
        assert (one.peaks > 0).all()


def test_what_was_seen_of_an_image_stays_as_it_was(
    demo_graphs: Path, demo_detector: Detector
) -> None:
    """OpenVINO computes each answer in the same memory."""
    options = Options(exported=demo_graphs, cache=ByteCache(10**8))
    keeping = load_detector("transformers", DEMO, options)
    images = [DecodedImage.of(noise(60, 80, seed)) for seed in range(3)]
    for asked in (["cat"], ["red circle", "star"]):
        for image in images:
            ((one,), (other,)) = (
                detector.detect([image], [asked]) for detector in (keeping, demo_detector)
            )
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.peaks, other.peaks)


def test_captions_of_other_numbers_and_lengths_than_were_traced(pair: Pair) -> None:
    for captions in ([WORD, MANY], [PHRASES, WORD, TRACED_CAPTION]):
        expected, found = (each.encode_text(captions) for each in (pair.torch, pair.openvino))
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(other, one, atol=1e-5, rtol=0)


def test_a_detector_of_graphs_reads_nothing_but_their_folder(
    demo_graphs: Path, demo_detector: Detector, tmp_path: Path
) -> None:
    detector = load_detector("transformers", tmp_path / "none", Options(exported=demo_graphs))
    asked = [DecodedImage.of(noise(60, 80))], [["circle"]]
    (one,), (other,) = detector.detect(*asked), demo_detector.detect(*asked)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    assert detector.longest == 240


def test_the_size_of_images_may_be_another_than_the_folder_s(demo_graphs: Path) -> None:
    detector = from_folder(demo_graphs, Options(short_side=96))
    assert detector.longest == 159
    assert detector.prepare(noise(60, 80)).shape == (3, 96, 128)


@pytest.mark.parametrize("name", ["facts.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"<html>Not Found</html>"])
def test_damaged_facts_are_named_with_the_way_to_make_them_again(
    demo_graphs: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "graphs"
    folder.mkdir()
    for file in demo_graphs.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} is damaged .* `make weights`"):
        load_detector("transformers", DEMO, Options(exported=folder))


def test_the_demo_detector_finds_the_same_in_the_sample_images(
    demo_detector: Detector, truth: dict[str, Any]
) -> None:
    usual = load_detector("transformers", DEMO, Options())
    for name, drawn in truth.items():
        image, names = sample(name, truth)
        ((one,), (other,)) = (each.detect([image], [names]) for each in (usual, demo_detector))
        np.testing.assert_allclose(best_boxes(other), best_boxes(one), atol=1e-2, err_msg=name)
        np.testing.assert_allclose(
            other.peaks.max(axis=0), one.peaks.max(axis=0), atol=1e-4, err_msg=name
        )
        true = np.array([shape["box"] for shape in drawn["shapes"]], np.float32)
        assert np.diag(box_iou(best_boxes(other), true)).min() >= 0.7, name


def test_the_demo_detector_finds_the_same_in_bf16(
    demo_graphs: Path, demo_detector: Detector, truth: dict[str, Any]
) -> None:
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        pytest.skip(f"this CPU computes in {', '.join(capabilities)}, not in BF16")
    options = Options(Compute(precision="bf16"), exported=demo_graphs)
    half = load_detector("transformers", DEMO, options)
    image, names = sample("wide.jpg", truth)
    ((one,), (other,)) = (detector.detect([image], [names]) for detector in (demo_detector, half))
    assert other.boxes.shape == one.boxes.shape
    assert other.boxes.dtype == other.peaks.dtype == np.float32
    assert np.isfinite(other.boxes).all()
    assert np.isfinite(other.peaks).all()
    assert not np.array_equal(one.boxes, other.boxes), "bf16 must have been used"
    assert np.diag(box_iou(best_boxes(one), best_boxes(other))).min() > 0.9
