"""From the truth of a project to better phrases, thresholds and models, and what they are worth."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from grounded_labeler.console import tell
from grounded_labeler.errors import PromptError
from grounded_labeler.evaluation.curve import F1, Goal
from grounded_labeler.label_studio.config_settings import choose_models
from grounded_labeler.label_studio.schema import LabelConfig
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.fitting import fit_models
from grounded_labeler.quality.held_out import Gain, gain
from grounded_labeler.quality.phrases import Phrases, Trial, not_tried, trials
from grounded_labeler.quality.runs import Runs, Say
from grounded_labeler.quality.subject import Subject
from grounded_labeler.quality.tuned import Tuned, TunedModels
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.offer import OfferedModels


@dataclass(frozen=True)
class TuneOptions:
    """What is to be reached, and what is tried for it.

    Attributes:
        goal: what makes a threshold good.
        extra: phrases to try beside a label's own names, by label value.
        phrases: whether other phrases than those of now are tried at all.
        models: whether other models than those of the project are tried, where there are several.
    """

    goal: Goal = field(default_factory=F1)
    extra: Mapping[str, Phrases] = field(default_factory=dict)
    phrases: bool = True
    models: bool = True


def tune(
    subject: Subject, settings: Settings, running: Running, options: TuneOptions, say: Say = tell
) -> Tuned:
    """Choose phrases, thresholds and models by what people say is in the images.

    Raises PromptError when there are no labels to tune, and what running the models raises.
    """
    subject = for_labels(subject)
    offered, names = settings.offered, subject.config.models
    now = choose_models(names, offered)
    tried = _trials(subject, options)
    for sentence in not_tried(tried, options.extra):
        say(sentence)

    def fit(choice: ModelChoice) -> TunedModels:
        return fit_models(Runs(subject, choice, settings, running, say), tried, options.goal)

    own = fit(now)
    others = [fit(choice) for choice in _others(subject.config, offered, now) if options.models]
    best, how_much = own, None
    for one in others:
        better = _better(own, one, options.goal, len(others))
        if better.is_sure and (how_much is None or better.difference > how_much.difference):
            best, how_much = one, better
    return Tuned(options.goal, own, best, (own, *others), how_much)


def for_labels(subject: Subject) -> Subject:
    """Return the subject with its labels alone: what people typed is no part of its config.

    Labels that each task brings are in no config, so images that have such are left out. Raises
    PromptError where nothing is left.
    """
    images = tuple(
        replace(target, preannotate="labels")
        for target in subject.config.images
        if target.labels and not target.has_task_labels
    )
    if not images:
        raise PromptError(
            "There are no labels to tune: the label config has none, or every task has its own."
        )
    config = replace(subject.config, images=images)
    return replace(subject, config=config, remembered=lambda _: None)


def _trials(subject: Subject, options: TuneOptions) -> list[Trial]:
    """What is tried, label by label; one that several images have is tried with all of theirs."""
    tried: dict[str, Trial] = {}
    if options.phrases:
        for target in subject.config.images:
            for one in trials(target.labels, options.extra):
                known = tried.setdefault(one.label, one)
                tried[one.label] = replace(known, every=known.every | one.every)
    return list(tried.values())


def _others(config: LabelConfig, offered: OfferedModels, now: ModelChoice) -> list[ModelChoice]:
    """The models that a project may have instead; segmenters find no boxes."""
    choices = [
        choose_models(replace(config.models, detector=detector), offered)
        for detector in offered.detectors
        if detector != now.detector
    ]
    return list(dict.fromkeys(choices))


def _better(own: TunedModels, other: TunedModels, goal: Goal, count: int) -> Gain:
    """How much better other models are on the images that both have a result of."""
    places = {key: place for place, key in enumerate(other.images)}
    both = [(place, places[key]) for place, key in enumerate(own.images) if key in places]
    mine, theirs = [one for one, _ in both], [one for _, one in both]
    confidence = 1 - 0.05 / count  # the best of several looks better than it is (Bonferroni)
    return gain(own.after[mine], other.after[theirs], goal, confidence=confidence)
