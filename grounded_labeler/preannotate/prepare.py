"""The options of the command to what is asked, of which tasks and by which settings."""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace

from grounded_labeler.errors import PromptError, SettingsError
from grounded_labeler.label_config import read_label_config
from grounded_labeler.memory import PromptMemory, memory_key
from grounded_labeler.preannotate.folder import config_of
from grounded_labeler.preannotate.project import Project
from grounded_labeler.preannotate.run import Run
from grounded_labeler.questions import standing_questions
from grounded_labeler.service import prompt_store
from grounded_labeler.settings import Settings
from grounded_labeler.targets import Control, ImageTarget, LabelConfig


def folder_run(options: argparse.Namespace) -> Run:
    """What is asked of the pictures under `--images`: the labels, or the prompt."""
    settings = _settings(
        options, OUTPUT="both", LOCAL_FILES_ROOT=str(options.images), DATA_DIR=str(options.out),
        PREANNOTATE="labels" if options.prompt is None else "last_prompt",
    )  # fmt: skip
    labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    return _run(options, settings, read_label_config(config_of(labels)), "", lambda _: None)


def project_run(options: argparse.Namespace) -> tuple[Project, Run]:
    """The project of `--project`, and what is asked of it: what the service asks, or the prompt."""
    asked = {} if options.prompt is None else {"PREANNOTATE": "last_prompt"}
    if options.export:
        asked["OUTPUT"] = "both"
    settings = _settings(options, **asked)
    if settings.label_studio_url is None or settings.label_studio_api_key is None:
        raise SettingsError("--project needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.")
    number, token = str(options.project), settings.label_studio_api_key.get_secret_value()
    project = Project(settings.label_studio_url, token, options.project)
    config = read_label_config(project.label_config())
    if options.export:
        config = replace(config, images=tuple(map(_as_dataset, config.images)))
    memory = PromptMemory(prompt_store(settings))
    remembered = lambda target: memory.newest(memory_key(number, target.name))  # noqa: E731
    return project, _run(options, settings, config, number, remembered)


def _settings(options: argparse.Namespace, **asked: str) -> Settings:
    if options.min_score is not None:
        asked["BOX_THRESHOLD"] = str(options.min_score)
    return Settings.from_env({**os.environ, **asked})


def _as_dataset(target: ImageTarget) -> ImageTarget:
    """With a box and a mask for each object, whatever the project itself draws."""
    controls = (
        Control("boxes", target.name, "box", "rectanglelabels", "boxes", target.labels),
        Control("masks", target.name, "brush", "brushlabels", "masks", target.labels),
    )
    return replace(target, controls=controls, prompt_name=None, status_name=None)


def _run(
    options: argparse.Namespace,
    settings: Settings,
    config: LabelConfig,
    number: str,
    remembered: Callable[[ImageTarget], str | None],
) -> Run:
    def prompt(target: ImageTarget) -> str | None:
        return remembered(target) if options.prompt is None else str(options.prompt)

    questions = standing_questions(config, settings, prompt)
    if not questions:
        raise PromptError('Nothing is asked: name labels, as "car,person", or a prompt.')
    return Run(settings, config, questions, number)
