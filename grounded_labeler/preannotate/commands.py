"""The two runs: a folder of pictures to a COCO dataset, a project to its predictions."""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from grounded_labeler.answers import Prediction
from grounded_labeler.errors import PromptError, SettingsError
from grounded_labeler.images import decode
from grounded_labeler.label_config import read_label_config
from grounded_labeler.looks import Task
from grounded_labeler.memory import PromptMemory, memory_key
from grounded_labeler.preannotate.coco import to_coco
from grounded_labeler.preannotate.folder import config_of, size_of, tasks_of
from grounded_labeler.preannotate.journal import Journal
from grounded_labeler.preannotate.project import Project
from grounded_labeler.preannotate.run import Run
from grounded_labeler.preannotate.summary import Summary, TaskId, write_failures, write_sheet
from grounded_labeler.questions import standing_questions
from grounded_labeler.service import Service, check_weights, prompt_store, start_service
from grounded_labeler.settings import Settings
from grounded_labeler.structures import RGBImage
from grounded_labeler.targets import ImageTarget, LabelConfig

# Nobody waits who would give up.
_NO_DEADLINE = "1e9"

Keep = Callable[[Mapping[TaskId, Prediction]], None]


def label_folder(options: argparse.Namespace) -> int:
    """Answer for the pictures under `--images`; returns the exit code."""
    folder, out = options.images, options.out
    settings = _settings(
        options, OUTPUT="both", LOCAL_FILES_ROOT=str(folder), DATA_DIR=str(out),
        PREANNOTATE="labels" if options.prompt is None else "last_prompt",
    )  # fmt: skip
    labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    run = _run(options, settings, read_label_config(config_of(labels)), lambda _: None)
    tasks = tasks_of(folder)[: options.limit]
    with closing(Journal(out / "journal.sqlite3", run.version)) as journal:
        if options.overwrite and not options.dry_run:
            journal.forget()
        answered = journal.answered()
        left = [task for task in tasks if task["id"] not in answered]
        if _tell(run, len(tasks), left, options):
            return 0
        _answer(run, "", left, len(tasks), keep=journal.add, summary=Summary())
        chosen = {task["id"] for task in tasks}
        answers = [(task, one) for task, one in journal.predictions() if task in chosen]
    dataset = to_coco(labels, answers, lambda name: size_of(folder / name))
    (out / "coco.json").write_text(json.dumps(dataset), encoding="utf-8")
    summary = Summary()
    summary.add(answers)
    return _finish(summary, lambda name: decode((folder / str(name)).read_bytes()), out)


def label_project(options: argparse.Namespace) -> int:
    """Answer for the tasks of `--project` that have no prediction yet; returns the exit code."""
    asked = {} if options.prompt is None else {"PREANNOTATE": "last_prompt"}
    settings = _settings(options, **asked)
    if settings.label_studio_url is None or settings.label_studio_api_key is None:
        raise SettingsError("--project needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.")
    number, token = str(options.project), settings.label_studio_api_key.get_secret_value()
    project = Project(settings.label_studio_url, token, options.project)
    memory = PromptMemory(prompt_store(settings))
    config = read_label_config(project.label_config())
    run = _run(
        options, settings, config, lambda target: memory.newest(memory_key(number, target.name))
    )
    only = None if options.task_ids is None else frozenset(options.task_ids)
    tasks, done = project.tasks(run.version, options.view, only)
    left = tasks[: options.limit]
    if _tell(run, len(left) + done, left, options):
        return 0
    summary = Summary()
    uris = {task["id"]: task for task in left}
    service = _answer(run, number, left, len(left) + done, keep=project.add, summary=summary)

    def load(task: TaskId) -> RGBImage:
        target = run.questions[0].target
        uri = str(uris[task]["data"][target.data_key])
        assert service is not None
        return decode(service.fetcher.fetch(uri, service.origin(number), int(task)))

    options.out.mkdir(parents=True, exist_ok=True)
    return _finish(summary, load, options.out)


def _settings(options: argparse.Namespace, **asked: str) -> Settings:
    if options.min_score is not None:
        asked["BOX_THRESHOLD"] = str(options.min_score)
    return Settings.from_env({**os.environ, "REQUEST_DEADLINE": _NO_DEADLINE, **asked})


def _run(
    options: argparse.Namespace,
    settings: Settings,
    config: LabelConfig,
    remembered: Callable[[ImageTarget], str | None],
) -> Run:
    def prompt(target: ImageTarget) -> str | None:
        return remembered(target) if options.prompt is None else str(options.prompt)

    questions = standing_questions(config, settings, prompt)
    if not questions:
        raise PromptError('Nothing is asked: name labels, as "car,person", or a prompt.')
    return Run(settings, config, questions)


def _tell(run: Run, total: int, left: Sequence[Task], options: argparse.Namespace) -> bool:
    """Say what will be done; whether that is all."""
    phrases = ", ".join(phrase.text for phrase in run.questions[0].prompt.phrases)
    Console().print(f"{total} tasks, {len(left)} of them to look at, for: {phrases}")
    return bool(options.dry_run)


def _answer(
    run: Run, project: str, left: Sequence[Task], total: int, *, keep: Keep, summary: Summary
) -> Service | None:
    """Answer what is left, with a bar, and add it to `summary`.

    Returns the service that did, None if nothing is left.
    """
    if not left:
        return None
    check_weights(run.settings)
    service = start_service(run.settings)
    service.pipeline.result()
    with tqdm(total=total, initial=total - len(left), unit="task") as bar:

        def keep_and_show(predictions: Mapping[TaskId, Prediction]) -> None:
            keep(predictions)
            summary.add(predictions.items())
            bar.update(len(predictions))
            bar.set_postfix(regions=summary.regions.total(), failures=len(summary.failures))

        run.answer(service, project, left, keep_and_show)
    return service


def _finish(summary: Summary, load: Callable[[TaskId], RGBImage], out: Path) -> int:
    write_failures(summary.failures, out / "failures.tsv")
    write_sheet(summary.shown, load, out / "sheet.jpg")
    console = Console()
    summary.print(console)
    console.print(f"Written to {out}")
    return 2 if summary.failures else 0
