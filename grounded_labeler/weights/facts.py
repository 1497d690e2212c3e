"""What is known of each model of the catalog besides its files: cost, figures of accuracy, use.

No figure of accuracy was measured here: each has the source that states it. Weights of others
were never loaded where this was built. "calculated" is counted from the model's code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MEGABYTE = 1_000_000

_GROUNDING_DINO = "README of IDEA-Research/GroundingDINO"
_MM = "mmdetection, configs/mm_grounding_dino/README.md"
_LLMDET = "README of iSEE-Laboratory/LLMDet"
_SAM2 = "README of facebookresearch/sam2"
_SAM3 = "README of facebookresearch/sam3"
_CALCULATED = "calculated"
_MANIFEST = "a manifest of the published files"


@dataclass(frozen=True)
class Published:
    """A figure that somebody published.

    Attributes:
        figure: what it is, such as "COCO val, box AP".
        value: the figure, in percent.
        source: who states it.
        is_seen: whether training saw the data set, or part of it: then the figure says less.
    """

    figure: str
    value: float
    source: str
    is_seen: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of a model; None is not known.

    Attributes:
        use: what it is for, in a few words.
        about_bytes: the size of its files, of a model whose files are listed at download only.
        size_source: what the size rests on.
        gflop: billions of operations for an image: two for a multiplication with its addition.
        gflop_note: what they are for.
        cached_bytes: memory of an image's features in the cache, calculated.
        published: figures of accuracy.
    """

    use: str
    about_bytes: int | None = None
    size_source: str | None = None
    gflop: int | None = None
    gflop_note: str = ""
    cached_bytes: int | None = None
    published: tuple[Published, ...] = ()


COCO, LVIS = "COCO val, box AP", "LVIS minival, box AP"
ONE_CLICK, FIVE_CLICKS = "SA-23, 1 click, mIoU", "SA-23, 5 clicks, mIoU"
_AT_800 = "an image of 800x1066, a fifth of it kept for the next prompt"
_ENCODER = "the image encoder, once an image"


def _detector(
    use: str,
    *published: Published,
    megabytes: int | None = None,
    gflop: int | None = None,
    cached: int | None = 20,
) -> Facts:
    return Facts(
        use,
        None if megabytes is None else megabytes * MEGABYTE,
        None if megabytes is None else _CALCULATED,
        gflop,
        _AT_800 if gflop else "",
        None if cached is None else cached * MEGABYTE,
        published,
    )


def _segmenter(
    use: str,
    gflop: int | None,
    cached: float,
    *published: Published,
    megabytes: int | None = None,
    source: str = _MANIFEST,
) -> Facts:
    return Facts(
        use,
        None if megabytes is None else megabytes * MEGABYTE,
        None if megabytes is None else source,
        gflop,
        _ENCODER if gflop else "",
        int(cached * MEGABYTE),
        published,
    )


_TINY = (Published(COCO, 48.4, _GROUNDING_DINO), Published(LVIS, 28.8, _LLMDET))

DETECTOR_FACTS: Mapping[str, Facts] = MappingProxyType(
    {
        "groundingdino-swint-ogc": _detector("the original, to begin with", *_TINY, gflop=700),
        "groundingdino-swinb-cogcoor": _detector(
            "the original, larger", Published(COCO, 56.7, _GROUNDING_DINO, is_seen=True)
        ),
        "grounding-dino-tiny": _detector("swint-ogc, as transformers has it", *_TINY, gflop=700),
        "grounding-dino-base": _detector(
            "swinb-cogcoor, as transformers has it",
            Published(COCO, 56.7, _GROUNDING_DINO, is_seen=True),
        ),
        "llmdet-tiny": _detector(
            "many kinds of objects",
            Published(COCO, 55.5, _LLMDET, is_seen=True),
            Published(LVIS, 44.7, _LLMDET),
            megabytes=692,
            gflop=700,
        ),
        "llmdet-base": _detector(
            "as llmdet-tiny, larger",
            Published(LVIS, 48.3, _LLMDET),
            megabytes=936,
            gflop=1200,
        ),
        "llmdet-large": _detector(
            "the best of LLMDet; for a GPU",
            Published(LVIS, 51.1, _LLMDET),
            megabytes=1376,
            gflop=3400,
            cached=72,
        ),
        "mm-grounding-dino-tiny": _detector(
            "not trained on COCO",
            Published(COCO, 50.6, _MM),
            Published(LVIS, 40.5, _MM),
            megabytes=692,
            gflop=700,
        ),
        "mm-grounding-dino-base": _detector(
            "not trained on COCO, larger", Published(COCO, 52.5, _MM), megabytes=936, gflop=1200
        ),
        "mm-grounding-dino-large": _detector(
            "not trained on COCO; for a GPU",
            Published(COCO, 53.0, _MM),
            megabytes=1376,
            gflop=3400,
            cached=72,
        ),
        "sam3": Facts(
            "best published; for a GPU, own terms",
            3_440 * MEGABYTE,
            "the file's published size",
            5613,
            "the image encoder; each phrase 247 more",
            21 * MEGABYTE,
            (Published(COCO, 56.4, _SAM3), Published("LVIS val, box AP", 53.6, _SAM3)),
        ),
        "demo": Facts("trying the installation: coloured shapes"),
    }
)

SEGMENTER_FACTS: Mapping[str, Facts] = MappingProxyType(
    {
        "mobile-sam": _segmenter(
            "a CPU, to begin with", 76, 4, Published("COCO, mask AP", 39.4, "README of EdgeSAM")
        ),
        "sam-vit-b": _segmenter("SAM 1, small", 972, 4),
        "sam-vit-l": _segmenter("SAM 1, middle", None, 4),
        "sam-vit-h": _segmenter(
            "SAM 1, large; for a GPU",
            5961,
            4,
            Published(ONE_CLICK, 58.1, _SAM2),
            Published(FIVE_CLICKS, 81.3, _SAM2),
        ),
        "sam2.1-tiny": _segmenter("SAM 2.1, smallest", 291, 16.8, megabytes=156),
        "sam2.1-small": _segmenter("SAM 2.1, small", 359, 16.8, megabytes=184),
        "sam2.1-base-plus": _segmenter(
            "SAM 2.1, middle; for a GPU",
            646,
            16.8,
            Published(ONE_CLICK, 61.9, _SAM2),
            Published(FIVE_CLICKS, 83.5, _SAM2),
            megabytes=324,
            source="the size of the original .pt file",
        ),
        "sam2.1-large": _segmenter("SAM 2.1, large; for a GPU", 1823, 16.8, megabytes=898),
        "edgetam": _segmenter(
            "a CPU, least work",
            37,
            16.8,
            Published(ONE_CLICK, 55.5, "EdgeTAM's authors"),
            Published(FIVE_CLICKS, 81.7, "EdgeTAM's authors"),
        ),
        "sam3": Facts(
            "clicks and boxes beside the sam3 detector",
            3_440 * MEGABYTE,
            "the file's published size",
            5613,
            "the image encoder, which is the detector's",
            21 * MEGABYTE,
        ),
        "demo": Facts("trying the installation: coloured shapes"),
    }
)
