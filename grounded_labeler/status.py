"""The sentence an annotator reads in the status field: the only thing that tells them why."""

import math
from collections import Counter

from grounded_labeler.bounded import shorten
from grounded_labeler.labels import label_for
from grounded_labeler.pipeline import Found, Thresholds
from grounded_labeler.prompt import Prompt
from grounded_labeler.targets import Label

_MAX_WORDS_LENGTH = 500  # of a list of phrases; an annotator knows what they typed


def describe(found: Found, prompt: Prompt, labels: tuple[Label, ...], limits: Thresholds) -> str:
    """What was found and how long it took, or why nothing was."""
    wanted = [phrase for phrase in prompt.phrases if not phrase.negative]
    if not wanted:
        return "Nothing to look for: a minus sign leaves out every phrase of the prompt."
    sentences = [_counts(found) if len(found.detections) else _why_nothing(found, prompt, limits)]
    unknown = sorted({p.label for p in wanted if p.label and label_for(p, labels) is None})
    if unknown:
        sentences.append(f"This project has no label {_quoted(unknown)}.")
    mapped = {phrase.text for phrase in wanted if phrase.label}
    pairs = zip(found.detections.phrases, found.detections.labels, strict=True)
    unnamed = sorted({phrase for phrase, label in pairs if label is None and phrase not in mapped})
    if unnamed and labels:
        sentences.append(f"No label fits {_quoted(unnamed)}: choose one for these regions.")
    return " ".join(sentences)


def _counts(found: Found) -> str:
    detections = found.detections
    names = [
        label or phrase for phrase, label in zip(detections.phrases, detections.labels, strict=True)
    ]
    counts = ", ".join(f"{name}: {count}" for name, count in Counter(names).most_common())
    return f"Found {counts} ({found.detect_seconds + found.segment_seconds:.1f} s)."


def _why_nothing(found: Found, prompt: Prompt, limits: Thresholds) -> str:
    asked = _quoted([phrase.text for phrase in prompt.phrases if not phrase.negative])
    # Rounded down, lest it look like the threshold it did not reach.
    score = math.floor(found.best_score * 100 + 1e-5) / 100
    best = f"Nothing found for {asked}: the best score was {score:.2f}"
    if found.best_score < limits.box:
        return f"{best}, below the box threshold {limits.box:.4g}."
    return (
        f"{best}, but no box fits a whole phrase at the text threshold {limits.text:.4g}, "
        "or a phrase with a minus sign fits it better."
    )


def _quoted(words: list[str]) -> str:
    return shorten(", ".join(f'"{shorten(word)}"' for word in words), _MAX_WORDS_LENGTH)
