"""Every model by name: its engine, its files with their published sums, source and licence.

What the sums rest on: each was found stated beside the file's name in at least
three public projects, for the hub's files next to the commit used here, and no
project was found that states another. The files themselves were not at hand,
but for special_tokens_map.json, which is short enough to write down and add up.
Files that a branch could change under their address are pinned to a commit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from grounded_labeler.errors import SettingsError

Engine = Literal["groundingdino", "transformers", "sam", "mobile-sam", "sam3", "tokenizer"]


NO_SEGMENTER = "none"  # the name that stands for boxes only


@dataclass(frozen=True)
class ModelFile:
    """One file to fetch: `bytes` is its exact size, `sha256` its sum in lower-case hex."""

    name: str
    url: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model and where it comes from.

    `shared` are models this one needs besides its own files.
    `bundled` is the folder inside this package of a model that is never fetched.
    """

    name: str
    engine: Engine
    source: str
    licence: str
    files: tuple[ModelFile, ...] = ()
    shared: tuple["Model", ...] = ()
    bundled: str | None = None

    @property
    def parts(self) -> tuple["Model", ...]:
        """The model itself, then the ones it shares with others."""
        return (self, *self.shared)

    def folder(self, model_dir: Path) -> Path:
        """Where the model's own files lie: under `model_dir`, or inside the package."""
        if self.bundled is not None:
            return Path(__file__).parents[1] / self.bundled
        return model_dir / self.name

    def paths(self, model_dir: Path) -> list[tuple[ModelFile, Path]]:
        """Each file of all `parts` with its place under `model_dir`; none when bundled."""
        return [
            (file, part.folder(model_dir) / file.name) for part in self.parts for file in part.files
        ]


_GROUNDING_DINO = "https://github.com/IDEA-Research/GroundingDINO"
_MOBILE_SAM = "ChaoningZhang/MobileSAM"
_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything/"
_HUB = "https://huggingface.co/"

_VOCABULARY_SUM = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

BERT_TOKENIZER = Model(
    "bert-base-uncased",
    "tokenizer",
    source=f"{_HUB}google-bert/bert-base-uncased",
    licence="Apache-2.0",
    files=(
        ModelFile(
            "vocab.txt",
            f"{_HUB}google-bert/bert-base-uncased/resolve/"
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
    )


def _hub_grounding_dino(
    name: str, commit: str, config: tuple[int, str], weights: tuple[int, str]
) -> Model:
    source = f"{_HUB}IDEA-Research/{name}"
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
    )


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
    _demo("sam", "segmenter"),
)


def detector(name: str) -> Model:
    """The detector called `name`; SettingsError lists the names there are."""
    return _look_up("DETECTOR", name, DETECTORS)


def segmenter(name: str) -> Model:
    """The segmenter called `name`; SettingsError lists the names there are."""
    return _look_up("SEGMENTER", name, SEGMENTERS)


def chosen_models(detector_name: str, segmenter_name: str) -> list[Model]:
    """The models of these names: a detector and, unless its name is "none", a segmenter.

    Raises SettingsError where a name is not in the catalog.
    """
    if segmenter_name == NO_SEGMENTER:
        return [detector(detector_name)]
    return [detector(detector_name), segmenter(segmenter_name)]


def _look_up(variable: str, name: str, models: Mapping[str, Model]) -> Model:
    if name not in models:
        raise SettingsError(f"{variable}={name} is not a model: use one of {', '.join(models)}.")
    return models[name]


def make_weights() -> str:
    """The command that fetches weights and makes graphs, as one types it where this runs."""
    checkout = Path(__file__).parents[2] / "Makefile"  # the container has none
    return "make weights" if checkout.is_file() else "grounded-labeler weights"
