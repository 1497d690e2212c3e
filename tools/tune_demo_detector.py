"""Teach the demo detector a sixth shape, as one trains a detector of one's own further.

    python -m tools.tune_demo_detector --out my-detector

Fifty steps, about a minute on two cores. The folder is what `save_pretrained` writes:
DETECTOR=./my-detector serves it, and "cross" is then found.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import (
    BertTokenizerFast,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
)

from grounded_labeler.demo.shapes import KINDS
from grounded_labeler.weights.catalog import DETECTORS
from tools.train_demo_detector import MAX_TEXT_LEN, make_batch, optimize, vocabulary

NEW = "cross"
# As often as all others together: these must not be forgotten.
_KINDS = [*KINDS, *[NEW] * len(KINDS)]


def tune(out: Path, steps: int = 50, batch_size: int = 8, rate: float = 1e-3) -> float:
    """Train further from the bundled weights, write the folder `out`, and return the last loss."""
    known = DETECTORS["demo"].folder(Path())
    # A word that the tokenizer did not have, in the place of an unused one.
    tokenizer = BertTokenizerFast(
        vocab=vocabulary(NEW, "crosses"), do_lower_case=True, model_max_length=MAX_TEXT_LEN
    )
    torch.manual_seed(3)
    rng = np.random.default_rng(3)
    model = GroundingDinoForObjectDetection.from_pretrained(known, local_files_only=True).train()
    batches = (make_batch(rng, tokenizer, batch_size, _KINDS) for _ in range(steps))
    losses = []
    for step, loss in enumerate(optimize(model, batches, steps, rate), start=1):
        losses.append(loss)
        if step % 10 == 0:
            print(f"step {step}  loss {np.mean(losses[-10:]):.3f}", flush=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    GroundingDinoImageProcessor.from_pretrained(known, local_files_only=True).save_pretrained(out)
    return float(np.mean(losses[-10:]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tune(options.out, options.steps)
