"""Connect a project: its label config, the ML backend, one request to see that it works."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from grounded_labeler._text import shorten
from grounded_labeler.connecting.failures import (
    backend_problem,
    config_problem,
    project_problem,
    token_problem,
)
from grounded_labeler.connecting.service_at import NotReachable, ServiceAt
from grounded_labeler.connecting.trying import read_answer, sample_task, typed
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_additions import Additions, complete_config
from grounded_labeler.label_studio.config_edit import diff
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio_api.client import LabelStudioError
from grounded_labeler.label_studio_api.ml_backends import (
    Login,
    MLBackend,
    ask_backend,
    connect_backend,
    list_backends,
)
from grounded_labeler.label_studio_api.project import Project
from grounded_labeler.label_studio_api.sample_tasks import SampleTasks

_PATIENCE_S = 110.0  # of one prediction; Label Studio gives up after 100
_UNDEFINED = "$undefined$"  # what Label Studio calls uploads before a config shows them
_IMAGE_ENDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic")
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_MOST_LABELS = 10  # of those that the test request looks for


class ConnectError(GroundedLabelerError):
    """The project cannot be connected; the message says why, and how it can."""


@dataclass(frozen=True)
class Connection:
    """What is to be connected.

    Attributes:
        service: where Label Studio reaches the service, without a slash at the end.
        login: what the service wants, if anything.
        labels: what the project's drawing tags shall have.
        with_masks: whether the service runs a segmenter.
        is_here: whether `service` is this machine's own address, and not one that was given.
    """

    service: str
    login: Login | None
    labels: Sequence[str]
    with_masks: bool
    is_here: bool = False


def open_project(url: str, token: str, number: int) -> Project:
    """Return project `number` of the Label Studio at `url`.

    Raises GroundedLabelerError for a token that says itself that it is no longer good.
    """
    try:
        return Project(url, token, number)
    except LabelStudioError as error:
        raise _named(error, token_problem(error)) from error


def connect_project(
    project: Project,
    connection: Connection,
    console: Console,
    agree: Callable[[str], bool],
    *,
    dry_run: bool = False,
) -> None:
    """Add to the label config what it lacks, connect the service, and try it.

    `agree` is asked before anything is written. What has been done stays done where a later step
    fails, and another run goes on there. Raises GroundedLabelerError, with the remedy.
    """
    try:
        before = project.label_config()
        tasks = SampleTasks(project.client, project.number).first(1)
        there = list_backends(project.client, project.number)
    except LabelStudioError as error:
        raise _named(error, project_problem(error, project.number, project.url)) from error
    service = ServiceAt(
        connection.service, connection.login, _PATIENCE_S, is_here=connection.is_here
    )
    is_near = _check_service(service, console)
    after = _completed(before, connection, tasks)
    _show(before, after, project.number, console)
    _name_left_out(after, connection.labels, console)
    if after != before:
        _validate(project, after)
    if dry_run:
        console.print(Text("Nothing was changed: --dry-run."))
        return
    if not agree(f"Change project {project.number} and connect {connection.service}?"):
        raise ConnectError("Nothing was changed.")
    if after != before:
        _write(project, after, before)
    backend = _connect(project, connection, there, console)
    _try(project, backend, after, tasks, console, directly=service if is_near else None)
    console.print(Text(f"Open {project.url}/projects/{project.number}/data"))


def _check_service(service: ServiceAt, console: Console) -> bool:
    """Whether the service can be asked from here, too; raises ServiceError if it is not ready."""
    try:
        service.check_ready()
    except NotReachable as error:
        console.print(Text(f"{error} Label Studio may reach it."))
        return False
    return True


def _completed(before: str, connection: Connection, tasks: Sequence[Task]) -> str:
    key = _image_key(tasks[0]["data"]) if tasks else "image"
    wanted = Additions(connection.labels, with_masks=connection.with_masks, data_key=key)
    return complete_config(before, wanted)


def _image_key(data: dict[str, Any]) -> str:
    """What the tasks call their image, for a project without a label config."""
    known = [key for key in data if key != _UNDEFINED]
    paths = {key: str(data[key]).partition("?")[0].lower() for key in known}
    likely = [key for key in known if paths[key].endswith(_IMAGE_ENDS)]
    return next(iter([*likely, *known]), "image")


def _show(before: str, after: str, number: int, console: Console) -> None:
    if before == after:
        console.print(Text(f"The label config of project {number} has all that is needed."))
        return
    for line in diff(before, after).splitlines():
        console.print(Text(line, style=_COLOURS.get(line[:1], "")), soft_wrap=True)


def _name_left_out(config: str, labels: Sequence[str], console: Console) -> None:
    """Say which labels the config has not got, as its tasks bring theirs."""
    target = _target(config)
    has = {name for label in target.labels for name in (label.value, *label.predicted_values)}
    left_out = [label for label in labels if label not in has]
    if left_out and target.has_task_labels:
        names = ", ".join(left_out)
        console.print(Text(f"Not added: {names}. The tasks of this project bring their labels."))


def _target(config: str) -> ImageTarget:
    return next(one for one in read_label_config(config).images if one.prompt_name)


def _validate(project: Project, after: str) -> None:
    try:
        project.client.call(
            "POST", f"api/projects/{project.number}/validate/", {"label_config": after}
        )
    except LabelStudioError as error:
        problem = config_problem(error, project.number)
        raise _named(error, problem or _refused(project, error)) from error


def _write(project: Project, after: str, before: str) -> None:
    try:
        project.write_label_config(after, expected=before)
    except LabelStudioError as error:
        problem = config_problem(error, project.number)
        raise _named(error, problem or _refused(project, error)) from error


def _refused(project: Project, error: LabelStudioError) -> str | None:
    return project_problem(error, project.number, project.url)


def _connect(
    project: Project, connection: Connection, there: Sequence[MLBackend], console: Console
) -> MLBackend:
    try:
        backend, is_new = connect_backend(
            project.client, project.number, connection.service, connection.login, there
        )
    except LabelStudioError as error:
        problem = backend_problem(error, connection.service) or _refused(project, error)
        raise _named(error, problem) from error
    done = "is connected" if is_new else "was connected, and is up to date"
    console.print(Text(f"{connection.service} {done}, with interactive preannotations."))
    first = next((one for one in there if one.is_interactive and one.id < backend.id), None)
    if first is not None:
        console.print(
            Text(
                f'The editor asks the model "{shorten(first.title)}" at {first.url}, which is '
                "older: take it out under Settings > Model, or its interactive preannotations."
            )
        )
    return backend


def _try(
    project: Project,
    backend: MLBackend,
    config: str,
    tasks: Sequence[Task],
    console: Console,
    *,
    directly: ServiceAt | None,
) -> None:
    """Ask what an annotator would ask who types the labels; nothing is saved."""
    target = _target(config)
    names = [label.value for label in target.labels][:_MOST_LABELS]
    context = typed(target, " . ".join(names) or "object")
    if tasks:
        what = f"Asked through Label Studio, task {tasks[0]['id']}"
        try:
            results = ask_backend(project.client, backend, int(tasks[0]["id"]), context)
        except LabelStudioError as error:
            problem = backend_problem(error, backend.url)
            raise _named(error, problem) from error
    elif directly is not None:
        what = "The project has no task; asked directly, a bundled image"
        results = directly.predict(config, sample_task(target), context)
    else:
        console.print(Text("Nothing was tried: import a task and run this again."))
        return
    regions, status = read_answer(results)
    console.print(Text(f"{what}: {regions} regions. {status}".rstrip()))


def _named(error: LabelStudioError, problem: str | None) -> GroundedLabelerError:
    """The failure by its name, else what Label Studio said."""
    return error if problem is None else ConnectError(problem)
