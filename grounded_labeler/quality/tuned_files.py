"""What tuning writes: the label config, and all figures as JSON."""

import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from grounded_labeler.errors import SettingsError
from grounded_labeler.evaluation.curve import F1, Goal
from grounded_labeler.evaluation.intervals import Interval
from grounded_labeler.preannotate.names import readable
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.figures import Rate
from grounded_labeler.quality.files import write_whole
from grounded_labeler.quality.held_out import Gain
from grounded_labeler.quality.phrases import Phrases
from grounded_labeler.quality.tuned import Tally, Tuned, TunedLabel, TunedModels

CONFIG, FIGURES = "label-config.xml", "tuned.json"

Json = dict[str, Any]


def write_tuned(out: Path, figures: Json, xml: str) -> None:
    """Write the config and the figures into the folder `out`; each whole, or as it was."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / CONFIG, xml)
    write_whole(out / FIGURES, json.dumps(figures, indent=2) + "\n")


def used_tasks(path: Path, project: int | None) -> list[TaskId]:
    """Return the tasks that earlier runs chose by, as the file at `path` has them.

    Raises SettingsError where it is of another project, or no file of this command.
    """
    with suppress(FileNotFoundError):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            tasks, whose = kept["tasks"], kept["project"]
        except (ValueError, KeyError, TypeError):
            raise SettingsError(
                f"{readable(str(path))} was not written by this command: name another --out, or "
                "move that file away."
            ) from None
        if whose != project:
            raise SettingsError(
                f"{readable(str(path))} is of project {whose}, and not of {project}: name another "
                "--out."
            )
        return [task for task in tasks if isinstance(task, int | str)]
    return []


def figures_of(
    tuned: Tuned,
    *,
    project: int | None,
    version: str | None,
    earlier: Collection[TaskId] = (),
) -> Json:
    """Return all figures of a run as JSON.

    Args:
        tuned: the outcome.
        project: its number in Label Studio; None for a folder.
        version: the model version that the new label config has; None for a folder.
        earlier: the tasks that earlier runs chose by. No promise about predictions may rest on
            any task that chose a threshold, so that `tasks` has these, too.
    """
    return {
        "project": project,
        "tasks": list(dict.fromkeys((*earlier, *tuned.tasks))),
        "goal": _goal(tuned.goal),
        "model_version": version,
        "changed": tuned.is_changed,
        "now": tuned.now.choice.name,
        "best": tuned.best.choice.name,
        "models_gain": None if tuned.choice_gain is None else _gain(tuned.choice_gain),
        "models": [_models(one, tuned.goal) for one in tuned.every],
    }


def _goal(goal: Goal) -> Json:
    if isinstance(goal, F1):
        return {"highest": "f1"}
    return {"at_least": {type(goal).__name__.removesuffix("AtLeast").lower(): goal.floor}}


def _models(models: TunedModels, goal: Goal) -> Json:
    return {
        "name": models.choice.name,
        "detector": models.choice.detector,
        "segmenter": models.choice.segmenter,
        "images": len(models.images),
        "gain": _gain(models.gain(goal)),
        "labels": [_label(one) for one in models.labels],
        "failures": {str(task): reason for task, reason in models.failures.items()},
    }


def _label(one: TunedLabel) -> Json:
    return {
        "label": one.label,
        "objects": one.objects,
        "changed": one.is_changed,
        "phrases": {"before": _phrases(one.now), "after": _phrases(one.phrases)},
        "score_threshold": {
            "before": one.threshold_now,
            "after": one.threshold,
            "best": _interval(one.interval),
        },
        "before": _tally(one.before),
        "after": _tally(one.after),
        "gain": _gain(one.gain),
        "remark": one.remark,
    }


def _phrases(phrases: Phrases) -> Json:
    return {"wanted": list(phrases.wanted), "unwanted": list(phrases.unwanted)}


def _tally(one: Tally) -> Json:
    return {
        "found": one.found,
        "wrong": one.wrong,
        "missed": one.missed,
        "precision": _rate(one.precision),
        "recall": _rate(one.recall),
        "f1": _rate(one.f1),
    }


def _rate(one: Rate) -> Json | None:
    return None if one.value is None else {"value": one.value, "interval": _interval(one.interval)}


def _gain(one: Gain) -> Json:
    return {"difference": one.difference, "interval": [one.low, one.high]}


def _interval(one: Interval | None) -> list[float] | None:
    return None if one is None else [one.low, one.high]
