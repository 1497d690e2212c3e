"""Make tests/data/groundingdino_golden.json: what the untouched groundingdino package answers.

The package's own text encoder needs transformers 4, so this runs in an
environment that puts an older transformers before the project's packages:

    python -m venv golden
    echo "$PWD"/.venv/lib/python3.11/site-packages > golden/lib/python3.11/site-packages/project.pth
    golden/bin/pip install --no-deps transformers==4.57.6 huggingface_hub==0.36.0 tokenizers==0.22.1
    golden/bin/python tools/make_groundingdino_golden.py

Nothing is downloaded: the model is a small one, its weights are drawn from the
names of their keys, so the test draws the same ones and none need to be kept.
"""

import json
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import transformers
from groundingdino.config import GroundingDINO_SwinT_OGC
from groundingdino.datasets import transforms
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import BertConfig, BertModel

GOLDEN = Path(__file__).parents[1] / "tests" / "data" / "groundingdino_golden.json"
SHORT_SIDE, LONG_SIDE = 160, 266
CAPTIONS = ("red cat .", "dog . a small blue bird . hat .")
# (height, width) of a wide and of a tall image.
SIZES_HW = ((120, 160), (208, 96))
ROWS = 20
# Values of the package's config that are made smaller.
SMALL = {"enc_layers": 1, "dec_layers": 2, "num_queries": 24, "dim_feedforward": 256}
_WORDS = ["a", "red", "blue", "small", "cat", "dog", "bird", "hat"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", ",", "-", "'"),
    *_WORDS,
    *(letter for letter in _LETTERS if letter not in _WORDS),
    *(f"##{letter}" for letter in _LETTERS),
)
TEXT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}


def drawn_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For every floating tensor one of its shape, drawn from its key; shared ones stay shared."""
    drawn: dict[str, Tensor] = {}
    first_key: dict[int, str] = {}
    for key, tensor in state.items():
        source = first_key.setdefault(tensor.data_ptr(), key)
        rng = np.random.default_rng(zlib.crc32(source.encode()))
        if not tensor.is_floating_point():
            drawn[key] = tensor
        elif tensor.ndim > 1:
            noise = rng.standard_normal(tensor.shape, np.float32)
            drawn[key] = torch.from_numpy(noise / np.sqrt(tensor[0].numel(), dtype=np.float32))
        else:
            # Norms shrink what they pass on: at 1, random text and boxes would
            # meet with scores of 0 and 1 only.
            center = 0.3 if key.endswith("weight") else 0.0
            noise = rng.standard_normal(tensor.shape, np.float32) * np.float32(0.1)
            drawn[key] = torch.from_numpy(noise + np.float32(center))
    return drawn


def make_image(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Coloured squares of 8 pixels, uint8 (H, W, 3)."""
    rng = np.random.default_rng(size_hw)
    cells = rng.integers(0, 256, (size_hw[0] // 8, size_hw[1] // 8, 3), np.uint8)
    return cells.repeat(8, axis=0).repeat(8, axis=1)


def prepared(image: NDArray[np.uint8]) -> Tensor:
    """The package's preparation of an image for its predict(), float32 (3, h, w)."""
    steps = transforms.Compose(
        [
            transforms.RandomResize([SHORT_SIDE], max_size=LONG_SIDE),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    pixels, _ = steps(Image.fromarray(image), None)
    assert isinstance(pixels, Tensor)
    return pixels


def build_untouched() -> torch.nn.Module:
    """The package's model, text encoder wrapper included, from a BERT folder made for it."""
    from groundingdino.models import build_model  # noqa: PLC0415
    from groundingdino.util.slconfig import SLConfig  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        config = BertConfig(**TEXT)
        BertModel(config).save_pretrained(folder)
        (Path(folder) / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
        args = SLConfig.fromfile(GroundingDINO_SwinT_OGC.__file__)
        args.merge_from_dict({**SMALL, "text_encoder_type": folder})
        model: torch.nn.Module = build_model(args).eval()
    model.load_state_dict(drawn_weights(model.state_dict()))
    return model


def main() -> None:
    from groundingdino.util.inference import predict  # noqa: PLC0415

    model = build_untouched()
    scores: list[Tensor] = []
    head = model.get_submodule("transformer.enc_out_class_embed")
    head.register_forward_hook(lambda module, given, out: scores.append(out.max(-1).values))
    answers = []
    for size_hw in SIZES_HW:
        for caption in CAPTIONS:
            scores.clear()
            pixels = prepared(make_image(size_hw))
            boxes, logits, _ = predict(model, pixels, caption, 0.0, 0.0, device="cpu")
            # Proposals of nearly the same score would change places on another machine.
            best = scores[0][0].topk(SMALL["num_queries"] + 1).values
            print(size_hw, caption, f"closest proposals {-best.diff().max():.1e} apart")
            order = logits.argsort(descending=True)[:ROWS]
            answers.append(
                {
                    "size_hw": size_hw,
                    "caption": caption,
                    "boxes": [[round(x, 7) for x in row] for row in boxes[order].tolist()],
                    "logits": [round(x, 7) for x in logits[order].tolist()],
                }
            )
    golden = {"transformers": transformers.__version__, "answers": answers}
    GOLDEN.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
