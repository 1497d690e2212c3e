"""The truth of the images of a project: what people submitted in Label Studio."""

from collections.abc import Collection

from grounded_labeler.errors import SettingsError
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.annotations import AnnotationError, holds_mask, read_objects
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio.task_labels import with_task_labels
from grounded_labeler.label_studio_api.project import Project
from grounded_labeler.preannotate.plan import remembered_prompts
from grounded_labeler.preannotate.sources import ProjectSource
from grounded_labeler.quality.subject import Subject, TruthError
from grounded_labeler.settings import Settings


def project_subject(
    project: Project,
    settings: Settings,
    *,
    view: int | None = None,
    task_ids: Collection[int] | None = None,
    annotator: int | str | None = None,
) -> Subject:
    """Return the annotated tasks of a project: of each the submitted annotation that counts.

    Args:
        project: the project, whose label config says what can be drawn on which images.
        settings: say where the prompts of projects are remembered.
        view: take only the tasks of this tab of the Data Manager.
        task_ids: take only these tasks.
        annotator: take only what this person submitted, by number or e-mail address.

    Raises LabelStudioError, BadRequest for a label config that cannot be read, SettingsError where
    nobody submitted anything.
    """
    config = read_label_config(project.label_config())
    annotated = project.annotated_tasks(view, task_ids, annotator, with_predictions=False)
    if not annotated:
        raise SettingsError(
            "There is no submitted annotation to measure with: annotate some tasks first, and "
            "check --view, --task-ids and --annotator if you gave them."
        )
    results = {task.id: task.result for task in annotated}
    targets = {target.name: target for target in config.images}

    def truth(task: Task, target: str, size_hw: tuple[int, int]) -> Truth | None:
        height, width = size_hw
        own = with_task_labels(targets[target], task["data"])
        try:
            return read_objects(results[task["id"]], own, (width, height))
        except AnnotationError as error:
            raise TruthError(str(error)) from error

    return Subject(
        ProjectSource(project.url, project.number, project.created(), config.images),
        config,
        [{"id": task.id, "data": task.data} for task in annotated],
        truth,
        has_masks=any(
            holds_mask(result, target) for result in results.values() for target in config.images
        ),
        project=str(project.number),
        remembered=remembered_prompts(settings, project),
    )
