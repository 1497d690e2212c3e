"""Models of the published sizes, their weights drawn at random but always the same.

They cost what the published ones cost and find nothing. The files have the
published layouts; no checksum can fit them, so they are loaded with
`load_detector` and `load_segmenter` and not through the catalog.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from groundingdino.config import GroundingDINO_SwinT_OGC
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor, nn
from transformers import BertConfig

from benchmarks.images import draw
from benchmarks.sam2_configs import EDGETAM, build_sam2
from grounded_labeler.models.detectors.official_build import (
    UNUSED_KEYS,
    build_model,
    load_tokenizer,
)
from grounded_labeler.models.segmenters import mobile_sam_build, sam_build

OUTPUT = Path(__file__).parent / "output"
MODELS = OUTPUT / "models"

MOBILE_SAM, VIT_B, SAM2_TINY = "mobile-sam", "sam-vit-b", "sam2.1-hiera-tiny"
_SEGMENTER_FILES = {
    MOBILE_SAM: mobile_sam_build.WEIGHTS_FILE,
    VIT_B: "sam_vit_b_01ec64.pth",
    SAM2_TINY: "model.safetensors",
    EDGETAM: "model.safetensors",
}
# The engine that loads each.
SEGMENTER_ENGINES = {MOBILE_SAM: "mobile-sam", VIT_B: "sam", SAM2_TINY: "sam2", EDGETAM: "sam2"}

State = dict[str, Tensor]

_VOCABULARY_SIZE = 30522
_RESERVED = {
    0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?",
}  # fmt: skip
_FIRST_WORD = 2000
_WORDS = (
    "a", "an", "and", "animal", "apple", "ball", "bicycle", "big", "bird", "black", "blue",
    "boat", "book", "bottle", "bus", "car", "cat", "chair", "child", "cup", "dog", "door",
    "flower", "green", "hand", "hat", "horse", "house", "in", "lamp", "left", "man", "of", "on",
    "orange", "person", "phone", "plant", "red", "right", "road", "shirt", "shoe", "sign",
    "sky", "small", "table", "the", "tree", "truck", "wall", "white", "window", "with", "woman",
    "yellow",
)  # fmt: skip
_LETTERS = "bcdefghijklmnopqrstuvwxyz0123456789"  # "a" is a word
_BIAS = 0.02


@dataclass(frozen=True)
class Folders:
    """Where the models' files lie; `tokenizer` holds `vocab.txt`.

    The folder of the segmenter is called as the catalog calls it.
    """

    detector: Path
    tokenizer: Path
    segmenter: Path


def make_models(root: Path = MODELS, segmenter: str = MOBILE_SAM) -> Folders:
    """Grounding DINO Swin-T with BERT's vocabulary, and a SAM; files that are there are kept.

    They take 730 MB and half a minute with MobileSAM; ViT-B, 370 MB more.
    """
    folders = Folders(
        root / "groundingdino-swint-ogc", root / "bert-base-uncased", root / segmenter
    )
    makers: dict[Path, Callable[[Path], None]] = {
        folders.tokenizer / "vocab.txt": _write_vocabulary,
        folders.detector / "groundingdino_swint_ogc.pth": (
            lambda path: _write_detector(path, folders.tokenizer / "vocab.txt")
        ),
    }
    for path, write in makers.items():
        _make(path, write)
    make_segmenter(root, segmenter)
    return folders


def make_segmenter(root: Path, name: str) -> Path:
    """The folder of one of `SEGMENTER_ENGINES`; files that are there are kept."""
    path = root / name / _SEGMENTER_FILES[name]
    _make(path, _write_sam2 if SEGMENTER_ENGINES[name] == "sam2" else _write_segmenter)
    return path.parent


def _make(path: Path, write: Callable[[Path], None]) -> None:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        write(unfinished)
        unfinished.replace(path)


def load_sam(folder: Path) -> Sam:
    """The segmenter of one of the folders, as a torch module."""
    build = mobile_sam_build if folder.name == MOBILE_SAM else sam_build
    return build.load_model(folder)


def vocabulary() -> list[str]:
    """As many entries as BERT has, some words and all letters among them."""
    words = [*_WORDS, *_LETTERS, *(f"##{letter}" for letter in f"a{_LETTERS}")]
    named = _RESERVED | dict(enumerate(words, _FIRST_WORD))
    return [named.get(number, f"[filler{number}]") for number in range(_VOCABULARY_SIZE)]


def draw_weights(model: nn.Module, norm_of: Callable[[str], float] = lambda _: 1.0) -> State:
    """A state_dict drawn from the names of its keys; what is shared in the model stays shared.

    Layers keep the variance of what they are given. The norm of a key is scaled
    by `norm_of` it; running statistics are those of a model that has seen nothing.
    """
    spread = {
        id(module.weight): 1.0 for module in model.modules() if isinstance(module, nn.Embedding)
    }
    # A transposed convolution would paint each of its strides' pixels another colour.
    upscaling = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.ConvTranspose2d)
    }
    drawn: State = {}
    done: dict[int, Tensor] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in done:
            rng = np.random.default_rng(zlib.crc32(key.encode()))
            noise = torch.from_numpy(rng.standard_normal(tensor.shape, np.float32))
            if not tensor.is_floating_point() or "running_" in key:
                value = tensor.detach().clone()
            elif "gaussian_matrix" in key:
                value = noise
            elif id(tensor) in upscaling:
                value = noise[..., :1, :1].expand(tensor.shape) / len(tensor) ** 0.5
            elif tensor.ndim > 1:
                value = noise * spread.get(id(tensor), tensor[0].numel() ** -0.5)
            else:
                value = noise * _BIAS + (norm_of(key) if key.endswith("weight") else 0.0)
            done[id(tensor)] = value.contiguous()
        drawn[key] = done[id(tensor)]
    return drawn


def center_masks(model: Sam) -> None:
    """Change a SAM of random weights so that masks are neither empty nor the whole image.

    A mask is what a vector of its box and the vectors of all pixels have in common.
    Random pixels have most in common with each other: that part, measured on one
    image, is taken out of the vectors of boxes.
    """
    predictor = SamPredictor(model)
    seen: list[Tensor] = []
    hook = model.mask_decoder.output_upscaling.register_forward_hook(
        lambda module, given, out: seen.append(out)
    )
    predictor.set_image(draw((640, 480)))
    predictor.predict_torch(None, None, torch.tensor([[200.0, 200.0, 800.0, 600.0]]))
    hook.remove()
    common = nn.functional.normalize(seen[0].mean((0, 2, 3)), dim=0)
    with torch.no_grad():
        for network in model.mask_decoder.output_hypernetworks_mlps:
            last = network.layers[-1]
            last.weight -= torch.outer(common, common @ last.weight)
            last.bias -= common * (common @ last.bias)


def _write_vocabulary(path: Path) -> None:
    path.write_text("".join(f"{entry}\n" for entry in vocabulary()), encoding="utf-8")


def _write_detector(path: Path, words: Path) -> None:
    tokenizer = load_tokenizer(words, _VOCABULARY_SIZE)
    model = build_model(GroundingDINO_SwinT_OGC, tokenizer, BertConfig())
    model.load_state_dict(draw_weights(model, _detector_norm))
    with torch.no_grad():
        _make_boxes_plausible(model)
    official = {f"module.{key}": value for key, value in model.state_dict().items()}
    official |= {f"module.{key}": torch.zeros(1) for key in UNUSED_KEYS}
    torch.save({"model": official}, path)


def _make_boxes_plausible(model: GroundingDINO) -> None:
    """Keep the boxes of random weights inside the image, of several sizes, and stable."""
    first = model.transformer
    # Cells at the image's edge propose boxes of no use and are handed on as zeros:
    # without a bias they score less than the best word of any other cell.
    first.enc_output.bias.zero_()
    first.enc_output_norm.bias.zero_()
    # The decoder's layers share one head. Large steps would take all boxes to the edges.
    for head in (first.enc_out_bbox_embed, model.bbox_embed[0]):
        head.layers[-1].weight *= 0.3
    # Most cells propose a twentieth of the image: what is labelled is more like a fifth.
    first.enc_out_bbox_embed.layers[-1].bias[2:] += 1.5
    # Proposals are handed on in the order of their scores, each with a vector of its place.
    # Alike, they keep two proposals of nearly one score from changing each other's boxes.
    first.tgt_embed.weight[:] = first.tgt_embed.weight[0].clone()


def _detector_norm(key: str) -> float:
    # At 1 throughout, scores would be 0 and 1 only; at 0.3, all alike.
    return 1.0 if key.startswith("transformer.decoder.layers.") else 0.3


def _write_segmenter(path: Path) -> None:
    is_mobile = path.parent.name == MOBILE_SAM
    model = mobile_sam_build.build_mobile_sam() if is_mobile else sam_model_registry["vit_b"]()
    model.eval()
    model.load_state_dict(draw_weights(model))
    center_masks(model)
    torch.save(model.state_dict(), path)


def _write_sam2(path: Path) -> None:
    """Weights as transformers draws them, which is enough to time them, and their config."""
    torch.manual_seed(0)
    model = build_sam2(path.parent.name)
    model.config.save_pretrained(path.parent)
    save_file(model.state_dict(), path, {"format": "pt"})
