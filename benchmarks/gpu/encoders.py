"""Ways to compute the encoders, of fixed shapes, each measured beside the plain one in turns.

The service stores weights in half precision and records CUDA graphs; the others are tried.
"""

import time
from collections.abc import Mapping
from functools import partial

import torch
from segment_anything import sam_model_registry
from torch import Tensor, nn

from benchmarks.agreement import demo_folder
from benchmarks.gpu.measuring import Notes, in_turns, milliseconds
from benchmarks.gpu.sides import Sides
from benchmarks.gpu.ways import (
    DTYPES,
    WARM_UPS,
    Encode,
    Encoder,
    Way,
    channels_last,
    compiled,
    cuda_graph,
    difference,
    half_weights,
    plain,
    with_tf32,
)
from grounded_labeler.models.runtime.device import Precision

TABLE = "Milliseconds for one image, by the device's clock"
PLAIN = "kernel by kernel"
# What the detector makes of 640x480 pixels, and the bundled one of 4:3.
_DETECTOR_HW, _DEMO_HW = (800, 1066), (160, 212)
_ROUNDS = 20
_COMPILING_S = 60.0


def measure_encoders(sides: Sides, notes: Notes) -> None:
    """Note ways that need nothing but PyTorch's own operations."""
    ways: dict[str, Way] = {"channels last": channels_last}
    if sides.device == "cuda":
        ways["TF32 in products"] = with_tf32
    for precision in sides.precisions:
        halves = {"weights in half precision": half_weights} if precision in DTYPES else {}
        _measure(sides, notes, precision, {**halves, **ways})


def measure_graphs(sides: Sides, notes: Notes) -> None:
    """Note CUDA graphs, which launch all kernels at once."""
    ways: dict[str, Way] = {
        "CUDA graph": partial(cuda_graph, plain),
        "weights in half precision, CUDA graph": partial(cuda_graph, half_weights),
    }
    _measure(sides, notes, sides.precisions[0], ways)


def measure_compile(sides: Sides, notes: Notes) -> None:
    """Note torch.compile, alone and with CUDA graphs of its own."""
    for mode in ("default", "reduce-overhead"):
        ways: dict[str, Way] = {f"torch.compile, {mode}": partial(compiled, mode)}
        _measure(sides, notes, sides.precisions[0], ways, _COMPILING_S)


def encoders(sides: Sides) -> list[Encoder]:
    """The segmenters' encoders, and the detector's backbone at one size."""
    if sides.is_small:
        return [
            Encoder("demo segmenter's encoder", _demo_encoder, _noise(192, 192)),
            Encoder("demo detector's backbone", _demo_backbone, _noise(*_DEMO_HW)),
        ]
    return [
        Encoder("MobileSAM's encoder", partial(_mobile_sam, sides), _noise(1024, 1024)),
        Encoder("detector's backbone", partial(_backbone, sides), _noise(*_DETECTOR_HW)),
        Encoder("SAM ViT-B's encoder", _vit_b, _noise(1024, 1024)),
    ]


def _measure(
    sides: Sides,
    notes: Notes,
    precision: Precision,
    ways: Mapping[str, Way],
    making_s: float = 0.0,
) -> None:
    for encoder in encoders(sides):
        if not notes.has_time_for(f"{encoder.name}, {precision}, {', '.join(ways)}", making_s):
            continue
        exact = plain(encoder, sides.device, "fp32")(encoder.pixels.to(sides.device))
        made, seconds = _make({PLAIN: plain, **ways}, encoder, sides.device, precision)
        pixels = encoder.pixels.to(sides.device)
        calls = {
            name: partial(milliseconds, sides.device, partial(encode, pixels))
            for name, encode in made.items()
        }
        found = in_turns(calls, sides.rounds(_ROUNDS), notes.budget)
        for name, figure in found.items():
            notes.record(
                TABLE,
                {
                    "what": encoder.name,
                    "computed in": precision,
                    "way": name,
                    "ms": figure.value,
                    "times faster": found[PLAIN].value / figure.value,
                    "error to fp32": difference(made[name](pixels), exact),
                    "s to make": seconds[name],
                },
            )


def _make(
    ways: Mapping[str, Way], encoder: Encoder, device: str, precision: Precision
) -> tuple[dict[str, Encode], dict[str, float]]:
    """Make each way and run it until it is warm; and how many seconds that took."""
    made: dict[str, Encode] = {}
    seconds: dict[str, float] = {}
    pixels = encoder.pixels.to(device)
    for name, way in ways.items():
        start = time.monotonic()
        made[name] = way(encoder, device, precision)
        for _ in range(WARM_UPS):
            milliseconds(device, partial(made[name], pixels))
        seconds[name] = time.monotonic() - start
    return made, seconds


def _noise(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def _mobile_sam(sides: Sides) -> nn.Module:
    from benchmarks.full_size import load_sam  # noqa: PLC0415
    from grounded_labeler.models.segmenters.sam import Encoder as SamEncoder  # noqa: PLC0415

    return SamEncoder(load_sam(sides.folders.segmenter))


def _vit_b() -> nn.Module:
    from grounded_labeler.models.segmenters.sam import Encoder as SamEncoder  # noqa: PLC0415

    torch.manual_seed(0)
    return SamEncoder(sam_model_registry["vit_b"]())


def _backbone(sides: Sides) -> nn.Module:
    from grounded_labeler.models.detectors import official, official_build  # noqa: PLC0415

    model = official_build.load_model(sides.folders.detector, sides.folders.tokenizer)
    return official.Backbone(model)


def _demo_encoder() -> nn.Module:
    from grounded_labeler.models.segmenters import sam_build  # noqa: PLC0415
    from grounded_labeler.models.segmenters.sam import Encoder as SamEncoder  # noqa: PLC0415

    return SamEncoder(sam_build.load_model(demo_folder("segmenter")))


def _demo_backbone() -> nn.Module:
    from transformers import AutoModelForZeroShotObjectDetection  # noqa: PLC0415

    from grounded_labeler.models.detectors.huggingface import Backbone  # noqa: PLC0415

    folder = demo_folder("detector")
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder, local_files_only=True)
    return Backbone(model.model)
