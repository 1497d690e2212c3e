"""The options of the command to what is asked, of which tasks and by which settings."""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace

from grounded_labeler.errors import PromptError, SettingsError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.queries import default_queries
from grounded_labeler.label_studio.schema import Control, ImageTarget, LabelConfig, Overrides
from grounded_labeler.label_studio.thresholds import choose_thresholds
from grounded_labeler.preannotate.image_folder import config_of
from grounded_labeler.preannotate.label_studio_api import Project
from grounded_labeler.preannotate.local_runner import Run
from grounded_labeler.prompts.history import PromptHistory, prompt_key
from grounded_labeler.service import prompt_store
from grounded_labeler.settings import Settings


def folder_run(options: argparse.Namespace) -> Run:
    """What is asked of the images under `--images`: the labels, or the prompt."""
    settings = _settings(OUTPUT="both", DATA_DIR=str(options.out), PREANNOTATE="labels")
    labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    return _run(options, settings, read_label_config(config_of(labels)), "", lambda _: None)


def project_run(options: argparse.Namespace) -> tuple[Project, Run]:
    """The project of `--project`, and what is asked of it: what the service asks, or the prompt."""
    asked = {"OUTPUT": "both"} if options.export else {}
    settings = _settings(**asked)
    if settings.label_studio_url is None or settings.label_studio_api_key is None:
        raise SettingsError("--project needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.")
    token = settings.label_studio_api_key.get_secret_value()
    project = Project(settings.label_studio_url, token, options.project)
    config = read_label_config(project.label_config())
    if options.export:
        config = replace(config, images=tuple(map(_as_dataset, config.images)))
    memory = PromptHistory(prompt_store(settings))

    def remembered(target: ImageTarget) -> str | None:
        return memory.newest(prompt_key(project.key(), target.name))

    return project, _run(options, settings, config, str(options.project), remembered)


def which_thresholds(run: Run, options: argparse.Namespace) -> str:
    """The thresholds that hold and who set them; for each image where they differ."""
    said = {
        query.target.name: choose_thresholds(
            run.settings,
            command_line=_overrides(options),
            attributes=query.target.overrides,
            displayed=query.target.displayed,
        ).describe()
        for query in run.queries
    }
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{image}: {thresholds}" for image, thresholds in said.items())


def _overrides(options: argparse.Namespace) -> Overrides:
    if options.min_score is not None and not 0 <= options.min_score <= 1:  # nor "nan"
        raise SettingsError(f"--min-score is {options.min_score:g}, which must be from 0 to 1.")
    return Overrides(box_threshold=options.min_score)


def _settings(**asked: str) -> Settings:
    return Settings.from_env({**os.environ, **asked})


def _as_dataset(target: ImageTarget) -> ImageTarget:
    """With a box and a mask for each object, whatever the project itself draws."""
    of_tasks = tuple(dict.fromkeys(one for own in target.controls for one in own.task_labels))
    controls = (
        Control("boxes", target.name, "box", "rectanglelabels", "boxes", target.labels, of_tasks),
        Control("masks", target.name, "brush", "brushlabels", "masks", target.labels, of_tasks),
    )
    return replace(target, controls=controls, prompt_name=None, status_name=None)


def _run(
    options: argparse.Namespace,
    settings: Settings,
    config: LabelConfig,
    number: str,
    remembered: Callable[[ImageTarget], str | None],
) -> Run:
    queries = default_queries(
        config, settings, remembered, prompt=options.prompt, overrides=_overrides(options)
    )
    if not queries:
        raise PromptError('Nothing to look for: pass --labels car,person or --prompt "red car".')
    return Run(settings, config, queries, number)
