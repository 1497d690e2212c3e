"""The label config that tuning comes to."""

from collections.abc import Callable, Container, Sequence
from xml.sax.saxutils import quoteattr

from grounded_labeler.core.prompt import phrases_from_labels
from grounded_labeler.core.types import Label
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_edit import ConfigEdits, LabelEdit, edit_config
from grounded_labeler.label_studio.config_settings import choose_models
from grounded_labeler.label_studio.queries import default_queries
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig
from grounded_labeler.label_studio.versions import version_of
from grounded_labeler.quality.tuned import Tuned
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import summarize

NO_FIELD = (
    "Other models are not compared: the label config has no prompt field to name them in; add "
    '<TextArea name="prompt" toName="..."/>.'
)

Remembered = Callable[[ImageTarget], str | None]


def tuned_config(xml: str, tuned: Tuned) -> str:
    """Return the label config with what was chosen, and otherwise as it is.

    Raises BadRequest where other models are chosen and no prompt field is there to name them.
    """
    return edit_config(xml, edits_of(tuned, _with_typed_thresholds(read_label_config(xml))))


def edits_of(tuned: Tuned, typed: Container[str | None] = ()) -> ConfigEdits:
    """Return what a label config gets: nothing for a label that stays as it is.

    `typed` are the labels whose own prompts have box thresholds: these would go before a chosen
    one, so the prompt is written without them.
    """
    labels = {
        one.label: LabelEdit(
            score_threshold=one.threshold if one.has_other_threshold else None,
            prompt=one.phrases.prompt
            if one.has_other_phrases or (one.has_other_threshold and one.label in typed)
            else None,
        )
        for one in tuned.best.labels
        if one.is_changed
    }
    detector = tuned.best.choice.detector if tuned.has_other_models else None
    return ConfigEdits(labels, detector)


def _with_typed_thresholds(config: LabelConfig) -> frozenset[str | None]:
    return frozenset(
        phrase.label
        for target in config.images
        for phrase in phrases_from_labels(target.labels).phrases
        if phrase.threshold is not None
    )


def names_models(xml: str) -> bool:
    """Whether a label config has a prompt field, which may name the models."""
    return any(target.prompt_name for target in read_label_config(xml).images)


def folder_xml(labels: Sequence[Label]) -> str:
    """Return a label config to begin a project with that has these labels, as boxes."""
    tags = "\n".join(f"    <Label value={quoteattr(label.value)}/>" for label in labels)
    return (
        "<View>\n"
        '  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1" '
        'showSubmitButton="true"/>\n'
        '  <Image name="image" value="$image"/>\n'
        f'  <RectangleLabels name="label" toName="image">\n{tags}\n  </RectangleLabels>\n'
        "</View>\n"
    )


def service_version(xml: str, settings: Settings, remembered: Remembered) -> str:
    """Return the model version that a service of these settings has for a label config."""
    config = read_label_config(xml)
    models = summarize(choose_models(config.models, settings.offered), settings.model_dir)
    return version_of(settings, models, default_queries(config, settings, models, remembered))


def what_hides(config: LabelConfig, settings: Settings, remembered: Remembered) -> str:
    """Say where other things are looked for than the labels' phrases; empty where they are.

    Their thresholds count all the same.
    """
    for target in config.images:
        mode = target.preannotate or settings.preannotate
        typed = remembered(target) if mode in ("auto", "last_prompt") else None
        if typed is not None:
            return (
                f'The project is asked for "{typed}", the prompt that was typed last, and not for '
                'its labels: give the prompt field preannotate="labels" for their phrases to '
                "count. Their thresholds count for whatever is asked."
            )
        if mode not in ("auto", "labels"):
            return (
                f"Nothing is looked for by labels, as preannotate is {mode}: their phrases count "
                "once it is labels. Their thresholds count for whatever is typed."
            )
    return ""
