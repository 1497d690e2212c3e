"""What was published of the models' results, to tell a model that is loaded right from a wrong one.

Each entry has its source. The test suites and conversion scripts of transformers assert their
numbers for the weights themselves, in float32 (https://github.com/huggingface/transformers):
the paths in the sources are of that repository. What a detector's score is there: the highest
over all tokens of the caption.

A model without an entry has no published values: that is said, and never called right. Of
sam-vit-b and sam-vit-h there are figures for an image (car.png) whose sum is not known, of masks
that the service does not take for a box; of the others none were found.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.reference_values import (
    Box,
    DetectorValues,
    ReferenceImage,
    SegmenterValues,
)

# In the folder of a bundled model: what it gives for the bundled images.
EXPECTED = "expected.json"

_CATS = ReferenceImage(
    "000000039769.jpg",
    "http://images.cocodataset.org/val2017/000000039769.jpg",
    173_131,
    "dea9e7ef97386345f7cff32f9055da4982da5471c48d575146c796ab4563b04e",
    "CC BY-SA 2.0, by DocChewbacca",
)
_SAM2_IMAGES = "https://raw.githubusercontent.com/facebookresearch/sam2/main/notebooks/images/"
_TRUCK = ReferenceImage(
    "truck.jpg",
    f"{_SAM2_IMAGES}truck.jpg",
    271_475,
    "941715e721c8864324a1425b445ea4dde0498b995c45ddce0141a58971c6ff99",
    "of the repository facebookresearch/sam2",
)
_GROCERIES = ReferenceImage(
    "groceries.jpg",
    f"{_SAM2_IMAGES}groceries.jpg",
    168_066,
    "7073dfecb5a3ecafb6152124113163a0ea1c1c70f92999ec892b519eca63e3d3",
    "of the repository facebookresearch/sam2",
)
_LAPTOP = ReferenceImage(
    "000000077595.jpg", "http://images.cocodataset.org/val2017/000000077595.jpg"
)

_GROUNDING_DINO = (
    DetectorValues(
        _CATS,
        ("a cat",),
        0.35,
        (0.4526, 0.4082),
        # Of the second, centre and width were published, and not the height.
        ((344.8143, 23.1796, 637.4004, 373.8295), None),
        # convert_grounding_dino_to_hf.py asserts the same logits for groundingdino-swint-ogc.
        "tests/models/grounding_dino/test_modeling_grounding_dino.py",
    ),
    DetectorValues(
        _CATS,
        ("a cat", "a remote control"),
        0.4,
        (0.4785, 0.4381, 0.4776),
        (
            (344.6959, 23.1090, 637.1833, 374.2751),
            (12.2666, 51.9145, 316.8582, 472.4392),
            (38.5742, 70.0015, 176.7838, 118.1806),
        ),
        "docs/source/en/model_doc/grounding-dino.md",
    ),
)


def _mm(*detections: tuple[float, Box]) -> tuple[DetectorValues, ...]:
    """Detections as the conversion script of MM-Grounding-DINO and LLMDet asserts them."""
    return (
        DetectorValues(
            _CATS,
            ("cat", "remote"),
            0.4,
            tuple(score for score, _ in detections),
            tuple(box for _, box in detections),
            "src/transformers/models/mm_grounding_dino/convert_mm_grounding_dino_to_hf.py",
            in_parts=True,
        ),
    )


def _sam2(truck: tuple[float, ...], groceries: tuple[float, ...], source: str) -> Any:  # noqa: ANN401
    return (
        SegmenterValues(
            _TRUCK,
            (
                (75, 275, 1725, 850), (425, 600, 700, 875),
                (1375, 550, 1650, 800), (1240, 675, 1400, 750),
            ),
            truck,
            source,
        ),
        SegmenterValues(
            _GROCERIES,
            (
                (450, 170, 520, 350), (350, 190, 450, 350),
                (500, 170, 580, 350), (580, 170, 640, 350),
            ),
            groceries,
            source,
        ),
    )  # fmt: skip


# By the name in the catalog, or by the repository of the hub.
_DETECTORS: Mapping[str, tuple[DetectorValues, ...]] = MappingProxyType(
    {
        "grounding-dino-tiny": _GROUNDING_DINO,
        "groundingdino-swint-ogc": _GROUNDING_DINO,
        "iSEE-Laboratory/llmdet_tiny": _mm(
            (0.7262, (0.0114, 0.1132, 0.4947, 0.9854)),
            (0.7552, (0.5387, 0.0513, 0.9992, 0.7765)),
            (0.7656, (0.5212, 0.1605, 0.5788, 0.3890)),
            (0.8207, (0.0634, 0.1536, 0.2743, 0.2440)),
        ),
        "iSEE-Laboratory/llmdet_base": _mm(
            (0.8646, (0.0632, 0.1529, 0.2745, 0.2438)),
            (0.7567, (0.5420, 0.0512, 0.9989, 0.7774)),
            (0.6978, (0.0110, 0.1134, 0.4950, 0.9875)),
            (0.8084, (0.5209, 0.1602, 0.5789, 0.3908)),
        ),
        "iSEE-Laboratory/llmdet_large": _mm(
            (0.7107, (0.0147, 0.1128, 0.4957, 0.9858)),
            (0.8626, (0.0634, 0.1528, 0.2744, 0.2447)),
            (0.7458, (0.5414, 0.0511, 0.9997, 0.7776)),
            (0.8166, (0.5209, 0.1602, 0.5792, 0.3916)),
        ),
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg": _mm(
            (0.7722, (0.5212, 0.1594, 0.5792, 0.3895)),
            (0.7584, (0.5424, 0.0513, 0.9996, 0.7757)),
            (0.7984, (0.0629, 0.1526, 0.2746, 0.2447)),
            (0.7163, (0.0091, 0.1127, 0.4945, 0.9911)),
        ),
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_grit": _mm(
            (0.7865, (0.0084, 0.1129, 0.4940, 0.9895)),
            (0.7180, (0.5214, 0.1597, 0.5786, 0.3875)),
            (0.7665, (0.5413, 0.0507, 0.9998, 0.7768)),
            (0.8177, (0.0631, 0.1527, 0.2740, 0.2449)),
        ),
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det": _mm(
            (0.5690, (0.5393, 0.0502, 0.9989, 0.7763)),
            (0.5553, (0.0090, 0.1125, 0.4950, 0.9895)),
            (0.6075, (0.5207, 0.1589, 0.5794, 0.3889)),
            (0.5775, (0.0625, 0.1519, 0.2750, 0.2446)),
        ),
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_grit_v3det": _mm(
            (0.8381, (0.0099, 0.1129, 0.4942, 0.9903)),
            (0.8204, (0.5413, 0.0506, 0.9998, 0.7753)),
            (0.7970, (0.0626, 0.1527, 0.2744, 0.2443)),
            (0.7175, (0.5211, 0.1596, 0.5790, 0.3890)),
        ),
        "openmmlab-community/mm_grounding_dino_base_o365v1_goldg_v3det": _mm(
            (0.8418, (0.5427, 0.0502, 0.9996, 0.7770)),
            (0.8364, (0.0628, 0.1529, 0.2747, 0.2448)),
            (0.8342, (0.0085, 0.1132, 0.4947, 0.9898)),
            (0.7885, (0.5208, 0.1597, 0.5787, 0.3910)),
        ),
        "openmmlab-community/mm_grounding_dino_base_all": _mm(
            (0.4713, (0.5423, 0.0507, 0.9998, 0.7761)),
        ),
        "openmmlab-community/mm_grounding_dino_large_o365v2_oiv6_goldg": _mm(
            (0.7824, (0.0082, 0.1133, 0.4945, 0.9889)),
            (0.8275, (0.5410, 0.0508, 0.9998, 0.7771)),
            (0.7715, (0.0632, 0.1526, 0.2740, 0.2439)),
            (0.8211, (0.5205, 0.1599, 0.5787, 0.3906)),
        ),
        "openmmlab-community/mm_grounding_dino_large_all": _mm(
            (0.7373, (0.5424, 0.0509, 0.9997, 0.7765)),
            (0.6208, (0.0632, 0.1529, 0.2744, 0.2447)),
            (0.6913, (0.0121, 0.1125, 0.4947, 0.9884)),
            (0.4523, (0.5206, 0.1597, 0.5789, 0.3933)),
        ),
        "facebook/sam3": (
            DetectorValues(
                _LAPTOP,
                ("ear",),
                0.5,
                # The first is without the presence score, which is 0.9995 or more here.
                (0.9381, 0.9210),
                (None, (402.1755, 90.1420, 459.6165, 156.3702)),
                "tests/models/sam3/test_modeling_sam3.py",
            ),
        ),
    }
)
_SEGMENTERS: Mapping[str, tuple[SegmenterValues, ...]] = MappingProxyType(
    {
        "facebook/sam2.1-hiera-tiny": _sam2(
            (0.9904, 0.9689, 0.9770, 0.9079),
            (0.9739, 0.9816, 0.9838, 0.9781),
            "tests/models/sam2/test_modeling_sam2.py",
        ),
        "yonigozlan/EdgeTAM-hf": _sam2(
            (0.9773, 0.9415, 0.9683, 0.8792),
            (0.9721, 0.9852, 0.9812, 0.9760),
            "tests/models/edgetam/test_modeling_edgetam.py",
        ),
        # None of SAM 3's tracker: those that transformers tests are of a class that adds the
        # embedding of "no memory" to a level that nothing reads. Meta's code adds it to the
        # coarsest level that is read, and so do we: models/sam3/modules.py.
    }
)


def detector_values(model: Model) -> tuple[DetectorValues, ...]:
    """Return what was published of a detector, empty where nothing was.

    Raises WeightsError when the file of a bundled one is damaged.
    """
    if model.bundled is not None:
        return tuple(
            DetectorValues(**{**entry, "image": ReferenceImage(**entry["image"])})
            for entry in _read(model)
        )
    return _DETECTORS.get(_key(model), ())


def segmenter_values(model: Model) -> tuple[SegmenterValues, ...]:
    """Return what was published of a segmenter; as `detector_values`."""
    if model.bundled is not None:
        return tuple(
            SegmenterValues(**{**entry, "image": ReferenceImage(**entry["image"])})
            for entry in _read(model)
        )
    return _SEGMENTERS.get(_key(model), ())


def write_expected(folder: Path, values: tuple[DetectorValues | SegmenterValues, ...]) -> None:
    """Write the values of a bundled model into its folder."""
    text = json.dumps([asdict(entry) for entry in values], indent=1)
    (folder / EXPECTED).write_text(f"{text}\n", encoding="utf-8")


def _key(model: Model) -> str:
    if model.own is not None:  # whatever it is called
        return ""
    return model.name if model.hub is None else model.hub.name


def _read(model: Model) -> Any:  # noqa: ANN401 - JSON
    path = model.folder(Path()) / EXPECTED
    try:
        return json.loads(path.read_bytes(), object_hook=_with_tuples)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: install this package again.") from error


def _with_tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) if isinstance(value, list) else value
            for name, value in entry.items()}  # fmt: skip


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuple(value) if isinstance(value, list) else value for value in values)
