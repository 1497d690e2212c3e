"""Mixed precision on CPUs: some wide layers of a graph in bfloat16, everything else in float32.

The types are written into the graph itself, as conversions around what is to be in bfloat16,
and the graph is compiled for float32. OpenVINO's own hint `bf16` would put every operation into
bfloat16, and its attribute for operations that are to stay precise does not hold: with every
operation of the fused encoder and decoder marked, half of the demo detector's boxes still moved.

Parts that are computed ahead of the choice of queries are not in `MIXED`, although most of the
work is theirs: with any of them, more than 1 % of the boxes moved. The likely reason, which was
not looked into, is that another query is chosen where two score nearly the same.
`python -m benchmarks --only precision` measures what each part wins and costs.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import openvino
from openvino import opset15 as ops

from grounded_labeler.models.runtime.device import Precision

# The attention and the two layers after it in each block of a Swin, a ViT and a TinyViT, norms
# left out. Names of the packages come first here, then those of transformers.
_BLOCK = r"\.blocks\.\d+\.(attn|attention|mlp)(?!\.norm)[./]"
# In the loops of the encoder's layers, where names begin anew (fused_attention.py).
_ENCODER_FEED_FORWARD = r"^__module\.feed_forward[./]"
_DECODER_FEED_FORWARD = (
    r"\.decoder\.layers\.\d+(\.linear[12]/|/aten::relu/|\.(fc[12]|activation_fn)/)"
)
# What the decoder's queries sample, of all cells.
_DECODER_VALUES = r"\.decoder\.layers\.\d+\.(cross_attn|encoder_attn)\.value_proj/"

# Parts of models that can be in bfloat16: of which graph, and which of its operations by name.
PARTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "decoder": ("fusion", f"{_DECODER_VALUES}|{_DECODER_FEED_FORWARD}"),
        # SAM and MobileSAM.
        "segmenter": ("encoder", rf"^__module\.encoder(\.layers\.\d+)?{_BLOCK}"),
        "feed-forward": ("fusion", _ENCODER_FEED_FORWARD),
        "backbone": ("backbone", _BLOCK),
    }
)
# Those that keep 99 % of the boxes within a pixel and 0.01 of float32.
MIXED = ("decoder", "segmenter")
# The graph that OpenVINO's own hint for bfloat16 does harm to: places and numbers of cells are
# floats in it, and a cell's number in bfloat16 is that of another or of none.
BY_PARTS_ONLY = frozenset({"fusion"})

# They hold what they are given, or nothing that can be converted.
_UNTOUCHED = frozenset({"Constant", "Parameter", "Result"})


def parts_of(name: str, precision: Precision) -> tuple[str, ...]:
    """Return which of `PARTS` a graph of this name is to have in bfloat16 in `precision`."""
    if precision == "mixed":
        return MIXED
    return tuple(PARTS) if precision == "bf16" and name in BY_PARTS_ONLY else ()


def lower_parts(name: str, graph: openvino.Model, parts: Sequence[str]) -> int:
    """Put parts of a graph into bfloat16; its inputs and outputs keep their types.

    Args:
        name: the graph's name, as in `PARTS`; one that has none of `parts` stays as it is.
        graph: changed in place.
        parts: names of `PARTS`; a KeyError says that there is no such part.

    Returns:
        How many operations now return bfloat16.
    """
    patterns = [
        pattern for graph_name, pattern in map(PARTS.__getitem__, parts) if graph_name == name
    ]
    if not patterns:
        return 0
    return _lower(graph, re.compile("|".join(patterns)))


def _lower(graph: openvino.Model, wide: re.Pattern[str]) -> int:
    """Lower what is `wide` in a graph and in the bodies of its loops; returns how many it is."""
    in_bodies = sum(
        _lower(node.get_function(), wide)
        for node in graph.get_ops()
        if node.get_type_name() == "TensorIterator"
    )
    chosen = [node for node in graph.get_ordered_ops() if _is_chosen(node, wide)]
    lowered: dict[tuple[str, int], openvino.Output] = {}
    for node in chosen:  # in the order of computing: what is before it has its new type by now
        for given in node.inputs():
            source = given.get_source_output()
            if source.get_element_type() == openvino.Type.f32:
                given.replace_source_output(_lowered(source, lowered))
        node.validate_and_infer_types()
    for node in chosen:
        for output in node.outputs():
            _raise_for_others(output, wide)
    graph.validate_nodes_and_infer_types()
    return in_bodies + sum(
        any(output.get_element_type() == openvino.Type.bf16 for output in node.outputs())
        for node in chosen
    )


def _is_chosen(node: openvino.Node, wide: re.Pattern[str]) -> bool:
    if node.get_type_name() in _UNTOUCHED:
        return False
    return wide.search(node.get_friendly_name()) is not None


def _lowered(
    source: openvino.Output, lowered: dict[tuple[str, int], openvino.Output]
) -> openvino.Output:
    """Return `source` in bfloat16, converted once for all that take it."""
    key = (source.get_node().get_name(), source.get_index())
    if key not in lowered:
        lowered[key] = ops.convert(source, "bf16").output(0)
    return lowered[key]


def _raise_for_others(output: openvino.Output, wide: re.Pattern[str]) -> None:
    """Give float32 to those of an output's readers that are not in bfloat16 themselves."""
    if output.get_element_type() != openvino.Type.bf16:
        return
    readers = [one for one in output.get_target_inputs() if not _is_chosen(one.get_node(), wide)]
    if readers:
        raised = ops.convert(output, "f32").output(0)
        for reader in readers:
            reader.replace_source_output(raised)
