"""The options of the command to what is asked, of which tasks and by which settings."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError, SettingsError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_settings import choose_models
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.label_studio.queries import default_queries
from grounded_labeler.label_studio.schema import Control, ImageTarget, LabelConfig, Overrides
from grounded_labeler.preannotate.image_folder import IMAGE_KEY
from grounded_labeler.preannotate.run import Run
from grounded_labeler.prompts.history import PromptHistory, prompt_key
from grounded_labeler.service import prompt_store
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import summarize

if TYPE_CHECKING:
    from grounded_labeler.label_studio_api.project import Project


def folder_run(options: argparse.Namespace) -> Run:
    """What is asked of the images under `--images`: the labels, or the prompt."""
    settings = _settings(options)
    settings = settings.model_copy(update={"output": "both", "data_dir": options.out})
    names = filter(None, map(str.strip, options.labels.split(",")))
    config = folder_config([Label(name) for name in dict.fromkeys(names)])
    return _run(options, settings, config, "", lambda _: None)


def folder_config(labels: Sequence[Label]) -> LabelConfig:
    """The images of a folder, which these labels are looked for in."""
    target = ImageTarget(
        "image", ImageValue(f"${IMAGE_KEY}"), (), tuple(labels), preannotate="labels"
    )
    return LabelConfig((as_dataset(target),))


def project_run(options: argparse.Namespace) -> tuple["Project", Run]:
    """The project of `--project`, and what is asked of it: what the service asks, or the prompt."""
    settings = _settings(options)
    project = open_project(settings, options.project)
    config = read_label_config(project.label_config())
    if options.export:
        settings = settings.model_copy(update={"output": "both"})
        config = replace(config, images=tuple(map(as_dataset, config.images)))
    remembered = remembered_prompts(settings, project)
    return project, _run(options, settings, config, str(options.project), remembered)


def open_project(settings: Settings, number: int) -> "Project":
    """The project of this number in the Label Studio of the settings.

    Raises SettingsError when they name none, LabelStudioError for a token that is not valid.
    """
    # Label Studio's SDK takes a second, which folders need not wait for.
    from grounded_labeler.label_studio_api.project import Project  # noqa: PLC0415

    if settings.label_studio_url is None or settings.label_studio_api_key is None:
        raise SettingsError("--project needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.")
    token = settings.label_studio_api_key.get_secret_value()
    return Project(settings.label_studio_url, token, number)


def remembered_prompts(
    settings: Settings, project: "Project"
) -> Callable[[ImageTarget], str | None]:
    """Return what tells the prompt that was typed last for an image tag of the project."""
    memory = PromptHistory(prompt_store(settings))

    def remembered(target: ImageTarget) -> str | None:
        return memory.newest(prompt_key(project.key(), target.name))

    return remembered


def overrides_of(options: argparse.Namespace) -> Overrides:
    """The thresholds of the command line; raises SettingsError for one that is no fraction."""
    if options.min_score is not None and not 0 <= options.min_score <= 1:  # nor "nan"
        raise SettingsError(f"--min-score is {options.min_score:g}, which must be from 0 to 1.")
    return Overrides(box_threshold=options.min_score)


def as_dataset(target: ImageTarget) -> ImageTarget:
    """With a box and a mask for each object, whatever the project itself draws."""
    of_tasks = tuple(dict.fromkeys(one for own in target.controls for one in own.task_labels))
    controls = (
        Control("boxes", target.name, "box", "rectanglelabels", "boxes", target.labels, of_tasks),
        Control("masks", target.name, "brush", "brushlabels", "masks", target.labels, of_tasks),
    )
    return replace(target, controls=controls, prompt_name=None, status_name=None)


def _settings(options: argparse.Namespace) -> Settings:
    """The settings of the environment, with what the command line sets of them."""
    settings = Settings.from_env(os.environ)
    return settings.model_copy(update={"stretch": True}) if options.stretch else settings


def _run(
    options: argparse.Namespace,
    settings: Settings,
    config: LabelConfig,
    number: str,
    remembered: Callable[[ImageTarget], str | None],
) -> Run:
    settings = settings.with_choice(choose_models(config.models, settings.offered))
    queries = default_queries(
        config,
        settings,
        summarize(settings.choice, settings.model_dir),
        remembered,
        prompt=options.prompt,
        overrides=overrides_of(options),
    )
    if not queries:
        raise PromptError('Nothing to look for: pass --labels car,person or --prompt "red car".')
    if options.group_duplicates:
        queries = [replace(query, with_embedding=True) for query in queries]
    return Run(settings, config, queries, number)
