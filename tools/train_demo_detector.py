"""Train the demo detector: a tiny Grounding DINO for coloured shapes.

    python tools/train_demo_detector.py --steps 6000 --out grounded_labeler/demo/weights/detector

The loss is our own. The one in transformers (5.23.0, loss_grounding_dino.py)
shifts the labels of every image after the first by the length of its own
label map instead of the sum of those before it, so that text and image never
align in a batch; it also never trains the scores that choose the proposals.
Here every object carries the multi-hot row of caption tokens that name it,
and the loss covers the proposals and each decoder layer.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.ops import (
    box_convert,
    generalized_box_iou,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)
from transformers import (
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    SwinConfig,
)

from grounded_labeler.demo.shapes import COLORS, KINDS, DrawnImage, draw_image
from tools.write_demo_values import write_detector_values

SHORT_SIDE, LONG_SIDE = 160, 240
# (height, width); the square comes most often.
SIZES_HW = [(160, 160), (160, 160), (160, 213), (213, 160), (160, 240), (240, 160), (96, 240)]
MAX_TEXT_LEN = 256
# Positions of [CLS], [SEP], "." and "?" that the model has hard-wired.
FIXED_IDS = {
    "[PAD]": 0,
    "[UNK]": 100,
    "[CLS]": 101,
    "[SEP]": 102,
    "[MASK]": 103,
    ".": 1012,
    "?": 1029,
}
# Words that name nothing in the images, so that the model learns to find nothing.
OTHER_WORDS = [
    "cat", "dog", "car", "person", "house", "tree", "bird", "boat",
    "apple", "chair", "table", "hat", "bus", "horse", "flower", "cloud",
    "unicorn", "bottle", "lamp", "shoe", "window", "door", "phone", "book",
    "cup", "pizza", "kite", "bench", "zebra",
]  # fmt: skip


def vocabulary(*more: str) -> dict[str, int]:
    """Words of the images, letters and `##` letters, at ids that leave the fixed ones alone.

    Words in `more` come last, so that the others keep their ids.
    """
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*COLORS, *KINDS, *(f"{kind}s" for kind in KINDS), "shape", "shapes", "a", "the"]
    tokens = [*words, *letters, *(f"##{c}" for c in letters), "-", "'", ",", *more]
    vocab = dict(FIXED_IDS)
    free = (i for i in range(1, 1030) if i not in set(FIXED_IDS.values()))
    for token in dict.fromkeys(tokens):
        vocab[token] = next(free)
    for i in range(1030):
        if i not in set(vocab.values()):
            vocab[f"[unused{i}]"] = i
    return dict(sorted(vocab.items(), key=lambda item: item[1]))


def build_model() -> GroundingDinoForObjectDetection:
    backbone = SwinConfig(
        embed_dim=24, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 4], window_size=5,
        drop_path_rate=0.0, out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=1030, hidden_size=64, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=128, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        max_position_embeddings=MAX_TEXT_LEN,
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=backbone, text_config=text, num_queries=30, d_model=64,
        encoder_layers=2, encoder_ffn_dim=256, encoder_attention_heads=4,
        decoder_layers=3, decoder_ffn_dim=256, decoder_attention_heads=4,
        num_feature_levels=3, dropout=0.0, fusion_droppath=0.0, max_text_len=MAX_TEXT_LEN,
    )  # fmt: skip
    model = GroundingDinoForObjectDetection(config)
    # With BERT's deviation of 0.02 all words look alike after the first layers.
    nn.init.normal_(model.model.text_backbone.embeddings.word_embeddings.weight, std=1.0)
    return model


def random_phrases(
    rng: np.random.Generator, image: DrawnImage, kinds: Sequence[str] = ()
) -> list[str]:
    """1 to 6 phrases: some of the image's shapes, some of absent ones, some of nothing known."""
    phrases: list[str] = []
    present = list(image.shapes)
    for _ in range(int(rng.integers(1, 7))):
        lot = rng.random()
        if lot < 0.5:
            shape = present[int(rng.integers(len(present)))]
            color, kind = shape.color, shape.kind
        else:
            color, kind = str(rng.choice(list(COLORS))), str(rng.choice(list(kinds or KINDS)))
            # Half of these differ from a present shape in one word only, which is hardest.
            near = present[int(rng.integers(len(present)))]
            lot = rng.random()
            color = near.color if lot < 0.25 else color
            kind = near.kind if 0.25 <= lot < 0.5 else kind
        kind += "s" if rng.random() < 0.15 else ""
        form = rng.random()
        if form < 0.55:
            phrase = f"{color} {kind}"
        elif form < 0.72:
            phrase = kind
        elif form < 0.85:
            phrase = color
        elif form < 0.9:
            phrase = "shape"
        elif form < 0.97:
            phrase = str(rng.choice(OTHER_WORDS))
        else:
            phrase = "".join(
                rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(rng.integers(3, 8)))
            )
        if phrase not in phrases:
            phrases.append(phrase)
    return phrases


@dataclass(frozen=True)
class Batch:
    pixel_values: Tensor  # float32 (B, 3, H, W), normalised
    input_ids: Tensor  # int64 (B, T)
    attention_mask: Tensor  # int64 (B, T)
    boxes: list[Tensor]  # per image float32 (N, 4), cxcywh in [0, 1]
    token_targets: list[Tensor]  # per image float32 (N, T), multi-hot


def make_batch(
    rng: np.random.Generator, tokenizer: BertTokenizerFast, size: int, kinds: Sequence[str] = ()
) -> Batch:
    """Images of `kinds`, see `draw_image`, each with a prompt that names some of them."""
    height, width = SIZES_HW[int(rng.integers(len(SIZES_HW)))]
    scale = int(rng.choice([1, 1, 2]))
    images, boxes, captions, named = [], [], [], []
    for _ in range(size):
        image = draw_image(rng, (width * scale, height * scale), kinds=kinds)
        phrases = random_phrases(rng, image, kinds)
        targets = [shape for shape in image.shapes if any(shape.matches(p) for p in phrases)]
        images.append(torch.from_numpy(image.image).permute(2, 0, 1))
        extent = torch.tensor([width, height, width, height]) * scale
        xyxy = torch.from_numpy(np.array([shape.box for shape in targets]).reshape(-1, 4))
        boxes.append(box_convert(xyxy / extent, "xyxy", "cxcywh").float())
        captions.append(" . ".join(phrases) + " .")
        named.append((phrases, targets))
    pixels = interpolate(
        torch.stack(images).float(), size=(height, width), mode="bilinear", antialias=True
    ).round()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    tokens = tokenizer(captions, padding=True, return_tensors="pt", return_offsets_mapping=True)
    rows = []
    for offsets, (phrases, targets) in zip(tokens["offset_mapping"], named, strict=True):
        row = torch.zeros(len(targets), offsets.shape[0])
        begin = 0
        for phrase in phrases:
            inside = (offsets[:, 0] >= begin) & (offsets[:, 1] <= begin + len(phrase))
            inside &= offsets[:, 1] > offsets[:, 0]
            for i, shape in enumerate(targets):
                if shape.matches(phrase):
                    row[i, inside] = 1.0
            begin += len(phrase) + len(" . ")
        rows.append(row)
    return Batch(
        (pixels / 255 - mean) / std, tokens["input_ids"], tokens["attention_mask"], boxes, rows
    )


def layer_loss(logits: Tensor, boxes: Tensor, batch: Batch) -> Tensor:
    """Focal, L1 and GIoU loss of one layer's (B, Q, T) logits and (B, Q, 4) cxcywh boxes."""
    valid = batch.attention_mask.bool()[:, None, :]
    logits = logits[..., : valid.shape[-1]]
    targets = torch.zeros_like(logits)
    box_terms = []
    count = max(sum(len(b) for b in batch.boxes), 1)
    for i, (truth, tokens) in enumerate(zip(batch.boxes, batch.token_targets, strict=True)):
        if not len(truth):
            continue
        with torch.no_grad():
            prob = logits[i].sigmoid().clamp(1e-6, 1 - 1e-6)
            positive = 0.25 * (1 - prob) ** 2 * -prob.log()
            negative = 0.75 * prob**2 * -(1 - prob).log()
            per_object = (tokens / tokens.sum(1, keepdim=True)).T
            cost = 2 * (positive - negative).masked_fill(~valid[i], 0.0) @ per_object
            cost = cost + 5 * torch.cdist(boxes[i], truth, p=1)
            cost = cost - 2 * generalized_box_iou(
                box_convert(boxes[i], "cxcywh", "xyxy"), box_convert(truth, "cxcywh", "xyxy")
            )
            query, object_ = linear_sum_assignment(cost.numpy())
        targets[i, query] = tokens[object_]
        ours, theirs = boxes[i, query], truth[object_]
        giou = generalized_box_iou_loss(
            box_convert(ours, "cxcywh", "xyxy"),
            box_convert(theirs, "cxcywh", "xyxy"),
            reduction="sum",
        )
        box_terms.append(5 * (ours - theirs).abs().sum() + 2 * giou)
    focal = sigmoid_focal_loss(logits.masked_fill(~valid, 0.0), targets, alpha=0.25, gamma=2)
    focal_sum: Tensor = (focal * valid).sum()
    return (2 * focal_sum + torch.stack([*box_terms, logits.new_zeros(())]).sum()) / count


def model_loss(model: GroundingDinoForObjectDetection, batch: Batch) -> Tensor:
    """The last layer's loss plus those of the earlier layers and of the proposals."""
    out = model(batch.pixel_values, batch.input_ids, attention_mask=batch.attention_mask)
    logits, coords = all_layers(model, out, batch)
    layers = [layer_loss(x, y, batch) for x, y in zip(logits, coords, strict=True)]
    chosen = out.enc_outputs_class.max(-1).values.topk(model.config.num_queries, dim=1).indices
    proposal_logits = out.enc_outputs_class.gather(
        1, chosen[..., None].expand(-1, -1, out.enc_outputs_class.shape[-1])
    )
    proposal_boxes = out.enc_outputs_coord_logits.gather(1, chosen[..., None].expand(-1, -1, 4))
    return torch.stack(
        [*layers, layer_loss(proposal_logits, proposal_boxes.sigmoid(), batch)]
    ).sum()


def all_layers(
    model: GroundingDinoForObjectDetection, out: Any, batch: Batch
) -> tuple[list[Tensor], list[Tensor]]:
    """Logits and boxes of every decoder layer, as the model's own forward makes the last ones."""
    hidden, text = out.intermediate_hidden_states, out.encoder_last_hidden_state_text
    logits, coords = [], []
    for level in range(hidden.shape[1]):
        reference = (
            out.init_reference_points
            if level == 0
            else out.intermediate_reference_points[:, level - 1]
        )
        states = hidden[:, level]
        logits.append(model.class_embed[level](states, text, batch.attention_mask.bool()))
        delta = model.bbox_embed[level](states)
        coords.append((delta + torch.special.logit(reference, eps=1e-5)).sigmoid())
    return logits, coords


def optimize(
    model: GroundingDinoForObjectDetection, batches: Iterable[Batch], steps: int, rate: float
) -> Iterator[float]:
    """Train on `steps` batches and yield the loss of each.

    `rate` is the highest learning rate, that of text and fusion.
    """
    slow = [p for n, p in model.named_parameters() if "fusion" not in n and "text" not in n]
    fast = [p for n, p in model.named_parameters() if "fusion" in n or "text" in n]
    rates = [0.8 * rate, rate]
    optimizer = torch.optim.AdamW(
        [{"params": slow, "lr": rates[0]}, {"params": fast, "lr": rates[1]}], weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps, pct_start=0.1
    )
    for batch in batches:
        loss = model_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        yield loss.item()


def train(options: argparse.Namespace) -> None:
    out, steps, rate = options.out, options.steps, options.rate
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary()))
    tokenizer = BertTokenizerFast(
        vocab=vocabulary(), do_lower_case=True, model_max_length=MAX_TEXT_LEN
    )
    processor = GroundingDinoImageProcessor(
        size={"shortest_edge": SHORT_SIDE, "longest_edge": LONG_SIDE}
    )
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    model = build_model()
    if options.start_from:
        model = GroundingDinoForObjectDetection.from_pretrained(options.start_from)
    model.train()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    start, recent = time.monotonic(), []
    batches = (make_batch(rng, tokenizer, options.batch_size) for _ in range(steps))
    for step, loss in enumerate(optimize(model, batches, steps, rate), start=1):
        recent.append(loss)
        if step % 50 == 0:
            seconds = time.monotonic() - start
            print(f"step {step}  loss {np.mean(recent):.3f}  {seconds:.0f} s", flush=True)
            recent.clear()
        if step % 1000 == 0 or step == steps:
            model.save_pretrained(out)
            tokenizer.save_pretrained(out)
            processor.save_pretrained(out)
    write_detector_values(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak, of text and fusion")
    parser.add_argument("--start-from", type=Path, help="go on from the weights in this folder")
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())
