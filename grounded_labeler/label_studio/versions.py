"""The model version: the models' names and a digest of all that shapes what they answer.

Label Studio asks for a task again when the version changes, and never while it stays. So the
digest is made of a document whose every name is written down here: what the code calls its
classes and fields is no part of it.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from grounded_labeler.core.prompt import Phrase
from grounded_labeler.core.tiling import tiling_text
from grounded_labeler.core.types import Label, Thresholds
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.schema import Control, ImageTarget, TaskLabels
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import ModelSummary, PairSummary

# Raised when the code answers the same document differently: all projects are asked again then.
FORMAT = 1
_DIGITS = 8

_Document = dict[str, Any]


def version_of(settings: Settings, models: PairSummary, standing: Sequence[Query]) -> str:
    """The version of a project that has these models and is asked `standing` when nobody typed."""
    document = version_document(settings, models, standing)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"{models.choice.name}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}"


def version_document(
    settings: Settings, models: PairSummary, standing: Sequence[Query]
) -> _Document:
    """All that shapes the answers to `standing`, as JSON.

    `precision` is the setting, not what it comes to on a device: that is known only once the
    models are loaded, and several devices may serve one project. Nor does it say whether
    OpenVINO or PyTorch computes, which must not matter.
    """
    document: _Document = {
        "format": FORMAT,
        "models": [_model(model) for model in models.models],
        "detect_size": settings.detect_size,
        "precision": settings.precision,
        "output": settings.output,
        "questions": [_question(query) for query in standing],
    }
    # What few projects have leaves no trace in the others, which are not asked again for it.
    for name in ("provenance", "stretch"):
        if getattr(settings, name):
            document[name] = True
    return document


def _model(model: ModelSummary) -> _Document:
    return {"name": model.name, "engine": model.engine, "sha256": dict(model.sha256)}


def _question(query: Query) -> _Document:
    question: _Document = {
        "image": _image(query.target),
        "prompt": query.text,
        "phrases": [_phrase(phrase) for phrase in query.prompt.phrases],
        "thresholds": _thresholds(query.thresholds),
    }
    if query.candidates_from is not None:
        question["candidates_from"] = query.candidates_from
    if query.tiling is not None:
        question["tiles"] = tiling_text(query.tiling)
    has_own = any(label.score_threshold is not None for label in query.target.labels)
    if has_own and query.thresholds.overrides_labels:
        question["overrides_labels"] = True
    return question


def _image(target: ImageTarget) -> _Document:
    # Its overrides are in the thresholds.
    return {
        "name": target.name,
        "data_key": target.value.name,
        "controls": [_control(control) for control in target.controls],
        "labels": [_label(label) for label in target.labels],
        "prompt_field": target.prompt_name,
        "status_field": target.status_name,
    }


def _control(control: Control) -> _Document:
    document: _Document = {
        "name": control.name,
        "image": control.to_name,
        "geometry": control.geometry,
        "type": control.result_type,
        "labels_name": control.labels_name,
        "labels": [_label(label) for label in control.labels],
        "task_labels": [_task_labels(source) for source in control.task_labels],
    }
    if control.form.is_rotated:
        document["rotated"] = True
    if control.form.tolerance is not None:
        document["tolerance"] = control.form.tolerance
    if control.form.max_points is not None:
        document["max_points"] = control.form.max_points
    return document


def _task_labels(source: TaskLabels) -> _Document:
    # Where a task's labels are, not what they are: a task whose data changes is not asked again.
    return {"key": source.key, "tag": None if source.tag is None else _label(source.tag)}


def _label(label: Label) -> _Document:
    document: _Document = {
        "value": label.value,
        "predicted_values": list(label.predicted_values),
        "prompt": label.prompt,
    }
    if label.score_threshold is not None:
        document["score_threshold"] = label.score_threshold
    return document


def _phrase(phrase: Phrase) -> _Document:
    document: _Document = {
        "text": phrase.text,
        "label": phrase.label,
        "negative": phrase.negative,
    }
    if phrase.threshold is not None:
        document["threshold"] = phrase.threshold
    return document


def _thresholds(limits: Thresholds) -> _Document:
    return {
        "box": limits.box,
        "text": limits.text,
        "nms": limits.nms,
        "max_regions": limits.max_regions,
    }
