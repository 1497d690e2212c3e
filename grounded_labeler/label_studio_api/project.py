"""A project of a real Label Studio: its tasks, and the predictions that it keeps."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from uuid import NAMESPACE_URL, uuid5

from label_studio_sdk.core import ApiError

from grounded_labeler._text import shorten
from grounded_labeler.label_studio.prediction_builder import Prediction
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio_api.annotations import (
    AnnotatedTask,
    Annotation,
    PredictedTask,
    Regions,
    counting_annotation,
    read_annotations,
    read_predictions,
)
from grounded_labeler.label_studio_api.client import ONCE, Client, LabelStudioError
from grounded_labeler.label_studio_api.predictions import add_predictions, replace_predictions
from grounded_labeler.label_studio_api.tasks import (
    ANNOTATION_FIELDS,
    PREDICTIONS,
    each_task,
    read_tasks,
)
from grounded_labeler.label_studio_api.views import Filters, save_view
from grounded_labeler.prompts.history import project_key

Read = TypeVar("Read")

# Columns of the data manager.
_VERSIONS = "predictions_model_versions"
_TOUCHED = ("total_annotations", "cancelled_annotations", "draft_exists")


class User(NamedTuple):
    """A user of Label Studio."""

    id: int
    email: str


class Project:
    """A project, by its number, over the API of the Label Studio at `url`.

    All that asks it raises LabelStudioError where it does not do what it is asked.
    """

    def __init__(self, url: str, token: str, number: int) -> None:
        """Raises LabelStudioError for a token that is no longer valid; nothing is asked yet."""
        self.number = number
        self.client = self._client = Client(url, token)

    @property
    def url(self) -> str:
        """Where its Label Studio is, without a slash at the end."""
        return self._client.url

    def label_config(self) -> str:
        """Its labeling interface, which is asked for once and first.

        Raises LabelStudioError, as all of these do.
        """
        return str(self._about.label_config or "")

    def created(self) -> str:
        """When it was made: another Label Studio has another project of this number."""
        return str(self._about.created_at or "")

    def key(self) -> str:
        """Its number and when it was made, as Label Studio's requests to the service name it."""
        return project_key(self.number, self._about.created_at)

    @cached_property
    def _about(self) -> Any:  # noqa: ANN401 - the SDK's
        with self._client.asked(f"project {self.number}"):
            return self._client.sdk.projects.get(id=self.number, request_options=ONCE)

    def tasks(
        self, version: str, view: int | None = None, only: Collection[int] | None = None
    ) -> tuple[list[Task], list[Task]]:
        """The tasks that have no prediction of `version`, and those that have one, by id.

        Of the tab `view` of the data manager, or of all; of those `only`, if given.
        """
        left: list[Task] = []
        done: list[Task] = []
        for task in self._tasks(("id", "data", _VERSIONS), view, only):
            having = done if version in _split(task.get(_VERSIONS)) else left
            having.append({"id": task["id"], "data": task["data"]})
        return left, done

    def annotated_tasks(
        self,
        view: int | None = None,
        only: Collection[int] | None = None,
        annotator: int | str | None = None,
        *,
        with_predictions: bool = True,
    ) -> list[AnnotatedTask]:
        """The tasks with a submitted annotation, by id, each with the one that counts.

        That is a ground truth if there is one, else the annotation that was changed last.
        Skips do not count, nor do predictions that this service accepted.

        Args:
            view: the tab of the data manager whose tasks are read; None for all tasks.
            only: the tasks that are left out no matter what, unless they are among these.
            annotator: the id or the e-mail address of the user whose annotations alone count.
            with_predictions: whether `Annotation.prediction` is read; without, what is
                transferred may be half as much.
        """
        user = None if annotator is None else self._user(annotator)
        fields = ("data", *ANNOTATION_FIELDS, *([PREDICTIONS] if with_predictions else []))
        found = []
        for task in self._tasks(fields, view, only):
            if (one := counting_annotation(self._read(read_annotations, task), user)) is not None:
                found.append(AnnotatedTask(task["id"], task["data"], one))
        return found

    def each_annotated_task(
        self,
        view: int | None = None,
        only: Collection[int] | None = None,
    ) -> Iterator[tuple[Task, Annotation | None]]:
        """Yield every task with the annotation that counts, None where there is none.

        It is that of `annotated_tasks`, or else a prediction that this service accepted. One page
        of tasks is in memory at a time. They come in Label Studio's order.
        """
        fields = ("data", *ANNOTATION_FIELDS)
        for task in each_task(self._client, self.number, fields, view, only):
            annotations = self._read(read_annotations, task)
            own = counting_annotation(annotations, with_accepted=True)
            yield {"id": task["id"], "data": task["data"]}, own

    def accepted_tasks(self) -> list[AnnotatedTask]:
        """The tasks with a prediction that this service accepted as an annotation, by id.

        One for each such annotation, whoever changed it since.
        """
        return [
            AnnotatedTask(task["id"], task["data"], one)
            for task in self._tasks(("data", *ANNOTATION_FIELDS), None, None)
            for one in self._read(read_annotations, task)
            if one.is_accepted
        ]

    def drafted_tasks(self) -> frozenset[int]:
        """The tasks on which somebody has begun a change and not submitted it."""
        tasks = self._tasks(("id", "draft_exists"), None, None)
        return frozenset(task["id"] for task in tasks if task.get("draft_exists"))

    def predicted_tasks(
        self, version: str | None, view: int | None = None, only: Collection[int] | None = None
    ) -> list[PredictedTask]:
        """The tasks that have a prediction of the model version, by id, each with its newest.

        None takes the version of the newest prediction there is.
        """
        found = []
        read = [
            (task, self._read(read_predictions, task))
            for task in self._tasks(("id", "data", PREDICTIONS, *_TOUCHED), view, only)
        ]
        if version is None:
            every = (one for _, predictions in read for one in predictions)
            newest = max(every, key=lambda one: (one.created_at, one.id), default=None)
            version = None if newest is None else newest.model_version
        for task, predictions in read:
            own = [one for one in predictions if one.model_version == version]
            if own:
                found.append(
                    PredictedTask(
                        id=task["id"],
                        data=task["data"],
                        prediction=max(own, key=lambda one: (one.created_at, one.id)),
                        annotations=task.get("total_annotations") or 0,
                        skips=task.get("cancelled_annotations") or 0,
                        has_draft=bool(task.get("draft_exists")),
                    )
                )
        return found

    def add(self, predictions: Mapping[int, Prediction], version: str) -> None:
        """Import the predictions of these tasks, which have none of `version`, all or none."""
        add_predictions(self._client, self.number, predictions, version)

    def replace(self, predictions: Mapping[int, Prediction], version: str) -> None:
        """Put the predictions of these tasks in the place of those of `version`, if there are."""
        replace_predictions(self._client, self.number, predictions, version)

    def write_data(self, task: int, key: str, value: str | None) -> None:
        """Set one value in the data of a task, or remove it if None; all else stays.

        Label Studio takes the data as a whole, so it is read again first.
        """
        tasks = self._client.sdk.tasks
        read = partial(tasks.get, str(task), request_options=ONCE)
        data = dict(self._client.ask(f"task {task}", read).data or {})
        data.pop(key, None)
        if value is not None:
            data[key] = value
        update = partial(tasks.update, str(task), data=data, request_options=ONCE)
        self._client.ask(f"data of task {task}", update)

    def current_user(self) -> User:
        """The user whose token it is."""
        found = self._client.ask(
            "user of the token",
            partial(self._client.sdk.users.whoami, request_options=ONCE),
        )
        return User(int(found.id or 0), str(found.email or ""))

    def write_label_config(self, xml: str, *, expected: str | None = None) -> None:
        """Put a labeling interface in the place of the project's.

        Label Studio refuses what is no config, and lets labels go that are in use. `expected` is
        the one that `xml` was made of: where somebody has changed it since, nothing is written.
        """
        self.__dict__.pop("_about", None)
        if expected is not None and self.label_config() != expected:
            raise LabelStudioError(
                f"The label config of project {self.number} was changed meanwhile: run the "
                "command again."
            )
        self._change(label_config=xml)

    def model_version(self) -> str:
        """Whose predictions annotators are shown: a model version, or the name of a backend.

        "" where nobody chose one.
        """
        return str(self._about.model_version or "")

    def show_predictions(self, version: str) -> None:
        """Have annotators shown the predictions of `version`, of which there must be one.

        The data manager's column `predictions_score` is empty for those of other versions.
        """
        self._change(model_version=version)

    def annotate(self, task: int, result: Regions, prediction: int) -> int:
        """Make an annotation of a prediction, by the token's user; returns its number.

        A prediction becomes one annotation, however often this is called or cut short.
        """
        name = f"{self.url}/predictions/{prediction}/of/{self.key()}"

        def send() -> int:
            made = self._client.sdk.annotations.create(
                task,
                result=result,
                parent_prediction=prediction,
                last_action="prediction",
                unique_id=str(uuid5(NAMESPACE_URL, name)),
                request_options=ONCE,
            )
            return int(made.id)

        def send_or_find() -> int:
            try:
                return send()
            except ApiError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
            there = self._client.sdk.annotations.list(task, request_options=ONCE)
            return next(int(one.id) for one in there if one.parent_prediction == prediction)

        return self._client.ask(f"annotation of task {task}", send_or_find)

    def delete_annotations(self, numbers: Collection[int]) -> None:
        """Delete these annotations; those that are not there any more are no error."""
        for number in numbers:
            self._client.ask(f"deletion of annotation {number}", partial(self._delete, number))

    def _delete(self, number: int) -> None:
        try:
            self._client.sdk.annotations.delete(number, request_options=ONCE)
        except ApiError as error:
            if error.status_code != HTTPStatus.NOT_FOUND:
                raise

    def save_view(self, title: str, ordering: Sequence[str], filters: Filters | None = None) -> int:
        """Make a tab of the data manager, or change the one of this title; returns its number.

        `ordering` are columns as the data manager names them, `tasks:predictions_score`, with a
        "-" before one to begin with the largest. `filters` are those of `views.of_tasks` or
        `views.unannotated`; without, filters that somebody chose stay, as columns do.
        """
        return save_view(self._client, self.number, title, ordering, filters)

    def _change(self, **settings: str) -> None:
        update = partial(self._client.sdk.projects.update, self.number, request_options=ONCE)
        self._client.ask(f"settings of project {self.number}", partial(update, **settings))
        self.__dict__.pop("_about", None)

    def _user(self, annotator: int | str) -> int:
        if isinstance(annotator, int):
            return annotator
        users = self._client.ask(
            "list of users", partial(self._client.sdk.users.list, request_options=ONCE)
        )
        for one in users:
            if (one.email or "").lower() == annotator.strip().lower():
                return int(one.id)
        raise LabelStudioError(
            f'Label Studio has no user with the e-mail address "{shorten(annotator)}".'
        )

    def _tasks(
        self, fields: Sequence[str], view: int | None, only: Collection[int] | None
    ) -> list[dict[str, Any]]:
        return read_tasks(self._client, self.number, fields, view, only)

    def _read(self, read: Callable[[Mapping[str, Any]], Read], task: Mapping[str, Any]) -> Read:
        with self._client.asked(f"task {task['id']}"):
            return read(task)


def _split(versions: object) -> list[str]:
    """The data manager gives them as one text."""
    if isinstance(versions, str):
        return [version.strip() for version in versions.split(",")]
    return [str(version) for version in versions] if isinstance(versions, list) else []
