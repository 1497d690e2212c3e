"""Scored images that no model made, for what is measured on thousands of them."""

from collections.abc import Sequence

import numpy as np

from grounded_labeler.core.prompt import phrases_from_labels
from grounded_labeler.core.types import Candidates, Label, Thresholds
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.preannotate.plan import folder_config
from grounded_labeler.preannotate.results import ImageResult
from grounded_labeler.quality.candidates import ScoredImage

SIZE_HW = (480, 640)
Scored = tuple[str, tuple[float, float, float, float], float]  # label, xyxy box, score


def truth(objects: Sequence[tuple[str, tuple[float, float, float, float]]]) -> Truth:
    """People say that these are in the image."""
    return Truth(
        np.array([box for _, box in objects], np.float32).reshape(-1, 4),
        tuple(label for label, _ in objects),
        (None,) * len(objects),
        np.zeros(len(objects), np.bool_),
        SIZE_HW,
    )


def scored_image(
    scored: Sequence[Scored],
    true: Truth,
    labels: Sequence[str],
    *,
    task: int = 1,
    threshold: float = 0.3,
) -> ScoredImage:
    """An image in which a detector gives these boxes these scores, and 0 for other labels."""
    own = tuple(map(Label, labels))
    [target] = folder_config(own).images
    query = Query(target, phrases_from_labels(own), Thresholds(threshold, 0.0, 0.5, 100), None)
    scores = np.zeros((len(scored), len(labels)), np.float32)
    for row, (label, _, score) in enumerate(scored):
        scores[row, labels.index(label)] = score
    boxes = np.array([box for _, box, _ in scored], np.float32).reshape(-1, 4)
    candidates = Candidates(boxes, scores, scores, np.zeros(len(scored), np.intp))
    best = sorted(scored, key=lambda one: -one[2])
    names = tuple(label for label, _, _ in best)
    result = ImageResult(
        np.array([box for _, box, _ in best], np.float32).reshape(-1, 4),
        np.array([score for *_, score in best], np.float32),
        names,
        names,
        None,
        SIZE_HW,
        "",
        tuple(scores.max(axis=0, initial=0).tolist()),
        0.0,
        candidates=candidates,
    )
    return ScoredImage(task, target.name, query, result, true)


def random_image(
    rng: np.random.Generator, labels: Sequence[str], *, task: int, candidates: int = 60
) -> ScoredImage:
    """An image with up to 8 objects, of which most are scored high, and much that scores low."""
    objects = []
    for _ in range(rng.integers(0, 9)):
        left, top = rng.uniform(0, 500), rng.uniform(0, 380)
        side = float(rng.uniform(20, 100))
        box = (float(left), float(top), float(left + side), float(top + side))
        objects.append((str(rng.choice(labels)), box))
    scored: list[Scored] = []
    for label, box in objects:
        moved = tuple(float(edge + rng.normal(0, 2)) for edge in box)
        scored.append((label, (moved[0], moved[1], moved[2], moved[3]), float(rng.beta(5, 2))))
    for _ in range(candidates - len(scored)):
        left, top = rng.uniform(0, 500), rng.uniform(0, 380)
        box = (float(left), float(top), float(left) + 60, float(top) + 60)
        scored.append((str(rng.choice(labels)), box, float(rng.beta(1.2, 8))))
    return scored_image(scored, truth(objects), labels, task=task)
