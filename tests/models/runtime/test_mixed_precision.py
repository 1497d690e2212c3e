"""Mixed precision: the parts of a list in bfloat16, all else in float32."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset15 as ops

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.detectors import huggingface_build as hf
from grounded_labeler.models.detectors import official as groundingdino
from grounded_labeler.models.export import export_dir
from grounded_labeler.models.runtime.device import Compute, Precision, Runtime
from grounded_labeler.models.runtime.mixed_precision import MIXED, PARTS, lower_parts, parts_of
from grounded_labeler.models.runtime.openvino_export import export
from grounded_labeler.models.runtime.pytorch import torch_graphs
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from tests.models.detectors.samples import best_boxes, sample
from tests.models.detectors.small_models import DEMO, save_tiny, save_vocabulary, small_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::FutureWarning:torch.*", "ignore::FutureWarning:transformers.*"
    ),
]

BF16, F32 = openvino.Type.bf16, openvino.Type.f32
# What decides which boxes come out, and where they are.
DECIDES = re.compile(
    r"sampling_offsets|attention_weights|enc_output|enc_out_|encoder_output_|bbox_embed"
    r"|class_embed|reference_points|\.score"
)


def requires_bf16() -> None:
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        pytest.skip(f"this CPU computes in {', '.join(capabilities)}, not in BF16")


def two_layers() -> openvino.Model:
    """A norm, the two layers of an encoder's block and their sum with what they were given."""
    rows = ops.parameter([-1, 8], np.float32, name="rows")
    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    block = "__module.feed_forward"
    normed = ops.mvn(rows, np.array([1]), True, 1e-5, "inside_sqrt", name="__module.norm")
    first = ops.matmul(normed, weights, False, True, name=f"{block}.first/aten::linear/MatMul")
    active = ops.relu(first, name=f"{block}/aten::relu/Relu")
    second = ops.matmul(active, weights, False, True, name=f"{block}.second/aten::linear/MatMul")
    return openvino.Model([ops.add(second, normed, name="sum")], [rows])


def types(graph: openvino.Model) -> dict[str, openvino.Type]:
    return {
        node.get_friendly_name(): node.get_output_element_type(0)
        for node in graph.get_ordered_ops()
        if node.get_type_name() not in ("Constant", "Convert")
    }


def test_layers_of_the_list_return_bfloat16_and_all_else_float32() -> None:
    graph = two_layers()
    assert lower_parts("fusion", graph, ["feed-forward"]) == 3
    found = types(graph)
    lowered = {name for name, kind in found.items() if kind == BF16}
    assert {name.rpartition("/")[2] for name in lowered} == {"MatMul", "Relu"}
    assert len(lowered) == 3
    assert {kind for name, kind in found.items() if name not in lowered} == {F32}


def test_what_two_layers_take_is_converted_once_and_between_layers_nothing_is() -> None:
    graph = two_layers()
    lower_parts("fusion", graph, ["feed-forward"])
    converted = [
        node.input_value(0).get_node().get_type_name()
        for node in graph.get_ordered_ops()
        if node.get_type_name() == "Convert"
    ]
    assert sorted(converted) == ["Constant", "Constant", "MVN", "MatMul"]


def test_layers_in_the_body_of_a_loop_are_found_and_the_loop_keeps_its_types() -> None:
    body, rows = two_layers(), ops.parameter([4, 8], np.float32, name="all rows")
    loop = ops.tensor_iterator()
    loop.set_function(body)
    loop.set_sliced_input(body.get_parameters()[0], rows.output(0), 0, 2, 2, -1, 0)
    out = loop.get_concatenated_slices(body.get_results()[0].output(0), 0, 2, 2, -1, 0)
    graph = openvino.Model([out], [rows])
    assert lower_parts("fusion", graph, ["feed-forward"]) == 3
    assert set(types(graph).values()) == {F32}
    assert list(types(loop.get_function()).values()).count(BF16) == 3
    assert graph.get_results()[0].get_output_element_type(0) == F32


@pytest.mark.parametrize("name", ["decoder", "text"])
def test_a_graph_without_a_list_stays_as_it_is(name: str) -> None:
    graph = two_layers()
    assert lower_parts(name, graph, list(PARTS)) == 0
    assert set(types(graph).values()) == {F32}


@pytest.fixture(scope="module", params=["groundingdino", "mm-grounding-dino"])
def detector_graphs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    if request.param == "groundingdino":
        parts = groundingdino.split(small_model(save_vocabulary(folder)))
    else:
        parts = hf.load(save_tiny(folder / "tiny", request.param))
    export(parts.graphs, folder / "graphs", parts.facts, parts.tokenizer)
    return folder / "graphs"


def products(folder: Path, name: str) -> dict[str, openvino.Type]:
    """What the products of a graph return once its wide layers are lowered, by their names."""
    graph = openvino.Core().read_model(folder / f"{name}.xml")
    lower_parts(name, graph, list(PARTS))
    loops = [node for node in graph.get_ops() if node.get_type_name() == "TensorIterator"]
    return {
        node.get_friendly_name(): node.get_output_element_type(0)
        for part in (graph, *(loop.get_function() for loop in loops))
        for node in part.get_ordered_ops()
        if node.get_type_name() in ("MatMul", "ScaledDotProductAttention", "TopK")
    }


def test_the_list_fits_the_names_of_both_packages(detector_graphs: Path) -> None:
    """Each layer of the parts is found in either, and nothing that decides about boxes is."""
    fusion, backbone = (products(detector_graphs, name) for name in ("fusion", "backbone"))
    wide = re.compile(
        r"^__module\.feed_forward\.(first|second)/"
        r"|\.decoder\.layers\.\d+\.(fc|linear)[12]/"
        r"|\.decoder\.layers\.\d+\.(cross_attn|encoder_attn)\.value_proj/"
    )
    assert {name for name, kind in fusion.items() if kind == BF16} == {
        name for name in fusion if wide.search(name)
    }
    assert sum(bool(wide.search(name)) for name in fusion) >= 5
    assert not [name for name, kind in fusion.items() if kind == BF16 and DECIDES.search(name)]
    in_blocks = {name: kind for name, kind in backbone.items() if ".blocks." in name}
    assert len(in_blocks) >= 16
    assert set(in_blocks.values()) == {BF16}


def test_the_list_fits_the_encoder_of_sam_and_leaves_its_decoder(exported_demo: Path) -> None:
    folder = export_dir(SEGMENTERS["demo"], exported_demo)
    encoder = {name: kind for name, kind in products(folder, "encoder").items() if "blocks" in name}
    assert len(encoder) >= 18
    assert set(encoder.values()) == {BF16}
    assert set(products(folder, "decoder").values()) == {F32}


def test_the_cpu_computes_in_bfloat16_what_is_in_the_list_and_nothing_else(
    exported_demo: Path,
) -> None:
    """What OpenVINO makes of the graph keeps to its types."""
    requires_bf16()
    core = openvino.Core()
    graph = core.read_model(export_dir(DETECTORS["demo"], exported_demo) / "fusion.xml")
    lower_parts("fusion", graph, list(PARTS))
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wide = re.compile(
        "|".join(names for graph_name, names in PARTS.values() if graph_name == "fusion")
    )
    computed = [
        (
            node.get_rt_info()["layerType"].value,
            node.get_rt_info()["runtimePrecision"].value,
            bool(wide.search(node.get_rt_info()["originalLayersNames"].value)),
        )
        for node in compiled.get_runtime_model().get_ordered_ops()
    ]
    working = [one for one in computed if one[0] not in ("Const", "Convert", "Reorder")]
    assert {kind for kind, precision, _ in working if precision == "bf16"} == {"FullyConnected"}
    assert all(is_wide for _, precision, is_wide in working if precision == "bf16")
    assert all(precision == "bf16" for kind, precision, is_wide in working if is_wide)


def test_the_demo_detector_finds_the_same_in_mixed_precision(
    exported_demo: Path, truth: dict[str, Any]
) -> None:
    requires_bf16()
    folder = export_dir(DETECTORS["demo"], exported_demo)
    usual, mixed = (
        load_detector("transformers", DEMO, Options(compute, exported=folder))
        for compute in (Compute(), Compute(precision="mixed"))
    )
    assert str(mixed.runtime).startswith("OpenVINO, mixed (bf16 and fp32), ")
    for name in truth:
        image, phrases = sample(name, truth)
        ((one,), (other,)) = (each.detect([image], [phrases]) for each in (usual, mixed))
        assert not np.array_equal(one.boxes, other.boxes), "bf16 must have been used"
        np.testing.assert_allclose(best_boxes(other), best_boxes(one), atol=1, err_msg=name)
        np.testing.assert_allclose(
            other.peaks.max(axis=0), one.peaks.max(axis=0), atol=0.01, err_msg=name
        )


def test_pytorch_refuses_mixed_precision_and_says_what_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"PRECISION=mixed needs .* `make weights` makes"):
        torch_graphs({}, Compute(precision="mixed"))


@pytest.mark.parametrize(
    ("precision", "text"),
    [
        ("mixed", "OpenVINO, mixed (bf16 and fp32), 2 CPU threads"),
        ("fp32", "OpenVINO, fp32, 2 CPU"),
    ],
)
def test_a_runtime_says_what_mixed_precision_is(precision: Precision, text: str) -> None:
    assert str(Runtime("OpenVINO", precision, 2)).startswith(text)


def test_a_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="neck"):
        lower_parts("fusion", two_layers(), ["neck"])


def test_mixed_precision_has_nothing_ahead_of_the_choice_of_queries_in_bfloat16() -> None:
    for name in ("fusion", "backbone"):
        assert lower_parts(name, two_layers(), parts_of(name, "mixed")) == 0


@pytest.mark.parametrize(
    ("name", "precision", "parts"),
    [
        ("fusion", "fp32", ()),
        ("fusion", "mixed", MIXED),
        ("fusion", "bf16", tuple(PARTS)),
        ("backbone", "bf16", ()),  # OpenVINO's hint does it
        ("encoder", "bf16", ()),
    ],
)
def test_which_parts_a_precision_has_in_bfloat16(
    name: str, precision: Precision, parts: tuple[str, ...]
) -> None:
    assert parts_of(name, precision) == parts


def test_a_detector_in_bf16_numbers_its_cells_in_float32(
    exported_demo: Path, truth: dict[str, Any]
) -> None:
    """With all in bfloat16 it fails on large images, as no cell has such a number."""
    requires_bf16()
    folder = export_dir(DETECTORS["demo"], exported_demo)
    options = Options(Compute(precision="bf16"), exported=folder, short_side=480)
    image, phrases = sample("large.jpg", truth)
    [found] = load_detector("transformers", DEMO, options).detect([image], [phrases])
    assert np.isfinite(found.boxes).all()
