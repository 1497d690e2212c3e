"""Every model by name: its engine, its files with their published sums, source and licence.

What the sums rest on: each was found stated beside the file's name in at least
three public projects, for the hub's files next to the commit used here, and no
project was found that states another. The files themselves were not at hand,
but for special_tokens_map.json, which is short enough to write down and add up.
Files that a branch could change under their address are pinned to a commit.

A model with a `hub` has a sum here for no file, or for some. What the hub states of the others at
the first download is written beside the weights and held to from then on: see hub.py.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from grounded_labeler.weights.model import (
    DefaultThresholds,
    Engine,
    HubRepository,
    Model,
    ModelFile,
    Terms,
)

NO_SEGMENTER = "none"  # the name that stands for boxes only
DEFAULT_SEGMENTER = "mobile-sam"
HUB = "https://huggingface.co/"

_GROUNDING_DINO = "https://github.com/IDEA-Research/GroundingDINO"
_MOBILE_SAM = "ChaoningZhang/MobileSAM"
_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything/"

# What the authors show their models with; nobody measured these on real weights here.
_GROUNDING_DINO_THRESHOLDS = DefaultThresholds(
    0.30, 0.25, "IDEA-Research/GroundingDINO, demo/inference_on_a_image.py"
)
_LLMDET_THRESHOLDS = DefaultThresholds(
    0.40, 0.30, "transformers, models/mm_grounding_dino/convert_mm_grounding_dino_to_hf.py"
)
# Its scores are lower than those of the two others: open-mmlab/mmdetection, issue 12391.
_MM_GROUNDING_DINO_THRESHOLDS = DefaultThresholds(
    0.30, 0.25, "open-mmlab/mmdetection, demo/image_demo.py; the text threshold is Grounding DINO's"
)
# A phrase has one score, which the text threshold is not compared with.
_SAM3_THRESHOLDS = DefaultThresholds(
    0.50, 0.0, "facebookresearch/sam3, Sam3Processor(confidence_threshold=0.5)"
)

_VOCABULARY_SUM = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

BERT_TOKENIZER = Model(
    "bert-base-uncased",
    "tokenizer",
    source=f"{HUB}google-bert/bert-base-uncased",
    licence="Apache-2.0",
    files=(
        ModelFile(
            "vocab.txt",
            f"{HUB}google-bert/bert-base-uncased/resolve/"
            "86b5e0934494bd15c9632b12f734a8a67f723594/vocab.txt",
            231_508,
            _VOCABULARY_SUM,
        ),
    ),
)


def _grounding_dino(name: str, release: str, size: int, sha256: str) -> Model:
    file = f"{name.replace('-', '_')}.pth"
    url = f"{_GROUNDING_DINO}/releases/download/{release}/{file}"
    return Model(
        name,
        "groundingdino",
        source=_GROUNDING_DINO,
        licence="Apache-2.0",
        files=(ModelFile(file, url, size, sha256),),
        # The checkpoint holds BERT's weights, but not its word list.
        shared=(BERT_TOKENIZER,),
        thresholds=_GROUNDING_DINO_THRESHOLDS,
    )


def _hub_grounding_dino(
    name: str, commit: str, config: tuple[int, str], weights: tuple[int, str]
) -> Model:
    source = f"{HUB}IDEA-Research/{name}"
    files = {
        "config.json": config,
        "model.safetensors": weights,
        # Alike in both repositories.
        "preprocessor_config.json": (
            457,
            "8454179ba95e2ad22947835aad7b45862a601fc0055ab88bf1ee70892d3aea60",
        ),
        "special_tokens_map.json": (
            125,
            "b6d346be366a7d1d48332dbc9fdf3bf8960b5d879522b7799ddba59e76237ee3",
        ),
        "tokenizer.json": (
            711_396,
            "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        ),
        "tokenizer_config.json": (
            1_237,
            "d40ab645b68211910b9170d22433d43186a6ec8ee6fd10ba170524b25bf4fb56",
        ),
        "vocab.txt": (231_508, _VOCABULARY_SUM),
    }
    return Model(
        name,
        "transformers",
        source=source,
        licence="Apache-2.0",
        files=tuple(
            ModelFile(file, f"{source}/resolve/{commit}/{file}", size, sha256)
            for file, (size, sha256) in files.items()
        ),
        thresholds=_GROUNDING_DINO_THRESHOLDS,
    )


def _of_hub(
    name: str,
    engine: Engine,
    repository: str,
    revision: str = "main",
    *,
    licence: str = "Apache-2.0",
    weights: tuple[int, str] | None = None,
    thresholds: DefaultThresholds | None = None,
    terms: Terms | None = None,
) -> Model:
    """A model of the hub; `weights` are size and sum of its model.safetensors, where known."""
    source = f"{HUB}{repository}"
    file = "model.safetensors"
    files = (
        ()
        if weights is None
        else (ModelFile(file, f"{source}/resolve/{revision}/{file}", *weights),)
    )
    return Model(
        name, engine, source, licence, files, hub=HubRepository(repository, revision),
        thresholds=thresholds, terms=terms,
    )  # fmt: skip


def _sam(name: str, file: str, size: int, sha256: str) -> Model:
    return Model(
        name,
        "sam",
        source="https://github.com/facebookresearch/segment-anything",
        licence="Apache-2.0",
        files=(ModelFile(file, f"{_SAM_FILES}{file}", size, sha256),),
    )


def _demo(engine: Engine, folder: str) -> Model:
    return Model(
        "demo",
        engine,
        source="grounded_labeler/demo, trained by tools/ on drawn shapes",
        licence="Apache-2.0",
        bundled=f"demo/weights/{folder}",
    )


_SAM3 = _of_hub(
    "sam3",
    "sam3",
    "facebook/sam3",
    "3c879f39826c281e95690f02c7821c4de09afae7",
    licence="SAM License (use restrictions)",
    weights=(3_439_938_512, "6d06f0a5f84e435071fe6603e61d0b4cc7b40e0d39d487cfd4d67d8cc11cc14a"),
    thresholds=_SAM3_THRESHOLDS,
    terms=Terms(
        "SAM License of 19 November 2025",
        "https://github.com/facebookresearch/sam3/blob/main/LICENSE",
        "free also for commercial use; no military use, weapons, nuclear industry, espionage or "
        "breach of trade controls; who passes the weights or anything made of them on does so "
        "under this licence and with a copy of it",
    ),
)


def _by_name(*models: Model) -> Mapping[str, Model]:
    return MappingProxyType({model.name: model for model in models})


DETECTORS: Mapping[str, Model] = _by_name(
    _grounding_dino(
        "groundingdino-swint-ogc",
        "v0.1.0-alpha",
        693_997_677,
        "3b3ca2563c77c69f651d7bd133e97139c186df06231157a64c507099c52bc799",
    ),
    _grounding_dino(
        "groundingdino-swinb-cogcoor",
        "v0.1.0-alpha2",
        938_057_991,
        "46270f7a822e6906b655b729c90613e48929d0f2bb8b9b76fd10a856f3ac6ab7",
    ),
    _hub_grounding_dino(
        "grounding-dino-tiny",
        "a2bb814dd30d776dcf7e30523b00659f4f141c71",
        (1_644, "eec82c5ab66e16df12a9a212e68ac011779927c2536cf9078658e35d85f0c67a"),
        (689_359_096, "1a2412ef99bd74bcd3c2a246fa1e48581f8889a1300c9051974741314fc042f3"),
    ),
    _hub_grounding_dino(
        "grounding-dino-base",
        "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
        (1_737, "eda416dae6f49419ff831b1c190ec430a060b19aae688dbaf2425a075b650608"),
        (933_400_872, "5548f844c928c4b6f411fa8cbcc2bfa8dbbba437cb1d513975519f93c2a9ed21"),
    ),
    _of_hub(
        "llmdet-tiny",
        "transformers",
        "iSEE-Laboratory/llmdet_tiny",
        "d05199165a19320a9236396e20fca0a5e065189c",
        thresholds=_LLMDET_THRESHOLDS,
    ),
    _of_hub(
        "llmdet-base",
        "transformers",
        "iSEE-Laboratory/llmdet_base",
        thresholds=_LLMDET_THRESHOLDS,
    ),
    _of_hub(
        "llmdet-large",
        "transformers",
        "iSEE-Laboratory/llmdet_large",
        "bec37f296f05b22f6c6b39bc05a6c611239f4e31",
        thresholds=_LLMDET_THRESHOLDS,
    ),
    _of_hub(
        "mm-grounding-dino-tiny",
        "transformers",
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
        thresholds=_MM_GROUNDING_DINO_THRESHOLDS,
    ),
    _of_hub(
        "mm-grounding-dino-base",
        "transformers",
        "openmmlab-community/mm_grounding_dino_base_o365v1_goldg_v3det",
        thresholds=_MM_GROUNDING_DINO_THRESHOLDS,
    ),
    _of_hub(
        "mm-grounding-dino-large",
        "transformers",
        "openmmlab-community/mm_grounding_dino_large_o365v2_oiv6_goldg",
        thresholds=_MM_GROUNDING_DINO_THRESHOLDS,
    ),
    _SAM3,
    _demo("transformers", "detector"),
)

SEGMENTERS: Mapping[str, Model] = _by_name(
    Model(
        "mobile-sam",
        "mobile-sam",
        source=f"https://github.com/{_MOBILE_SAM}",
        licence="Apache-2.0",
        files=(
            ModelFile(
                "mobile_sam.pt",
                f"https://raw.githubusercontent.com/{_MOBILE_SAM}/"
                "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
                40_728_226,
                "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            ),
        ),
    ),
    _sam(
        "sam-vit-b",
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    _sam(
        "sam-vit-l",
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    _sam(
        "sam-vit-h",
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    _of_hub(
        "sam2.1-tiny",
        "sam2",
        "facebook/sam2.1-hiera-tiny",
        "de431c4043854a71d8101e17995dfe596bf101a5",
        weights=(
            155_908_064,
            "48c14467e5cf9e51870511feb72c89688e82dd74523142c0538b663e193ac2a7",
        ),
    ),
    _of_hub(
        "sam2.1-small",
        "sam2",
        "facebook/sam2.1-hiera-small",
        "ee5bba1d82bb8749febdf90f45e84b687142ba03",
    ),
    _of_hub("sam2.1-base-plus", "sam2", "facebook/sam2.1-hiera-base-plus"),
    _of_hub(
        "sam2.1-large",
        "sam2",
        "facebook/sam2.1-hiera-large",
        "665f8e2ad61cf5f53d65644ff27c8ee525124610",
    ),
    _of_hub("edgetam", "sam2", "yonigozlan/EdgeTAM-hf"),
    _SAM3,
    _demo("sam", "segmenter"),
)


def default_thresholds(detector: Model) -> DefaultThresholds:
    """Return the thresholds of a detector for whoever sets none.

    A repository of the hub and somebody's own model state none: they have those of the model
    that their engine was made for.
    """
    family = _SAM3_THRESHOLDS if detector.engine == "sam3" else _GROUNDING_DINO_THRESHOLDS
    return detector.thresholds or family


def make_weights() -> str:
    """The command that fetches weights and makes graphs, as one types it where this runs."""
    return "make weights" if _is_checkout() else "grounded-labeler weights"


def make_graphs() -> str:
    """The commands that make graphs, where they cannot be made here; to complete "run ..."."""
    elsewhere = f"`{make_weights()}` with the same MODEL_DIR where requirements.txt is installed"
    if _is_checkout():
        return elsewhere
    return f"{elsewhere}, or, with Docker, `docker compose run --rm weights`"


def _is_checkout() -> bool:
    return (Path(__file__).parents[2] / "Makefile").is_file()  # the container has none
