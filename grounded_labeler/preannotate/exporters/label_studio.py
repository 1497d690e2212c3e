"""Predictions that Label Studio imports, the same as the service's."""

from collections.abc import Mapping

from grounded_labeler.core.inference import Failure
from grounded_labeler.label_studio.prediction_builder import Prediction, PredictionBuilder
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.results import TaskId, TaskOutcomes, TaskResult
from grounded_labeler.preannotate.run import Run


def to_predictions(
    run: Run, tasks: Mapping[TaskId, Task], outcomes: TaskOutcomes
) -> dict[int, Prediction]:
    """Make the predictions of the tasks that have a result; others are left for another run."""
    settings = run.settings
    builder = PredictionBuilder(
        run.config, settings.output, run.version, False, settings.provenance
    )
    return {
        int(number): _prediction(run, builder, tasks[number], outcome)
        for number, outcome in outcomes.items()
        if isinstance(outcome, TaskResult)
    }


def _prediction(run: Run, builder: PredictionBuilder, task: Task, result: TaskResult) -> Prediction:
    queries = [query.of_task(task["data"]) for query in run.queries]
    images = [result.images[query.target.name] for query in queries]
    outcomes = [one if isinstance(one, Failure) else one.unpacked() for one in images]
    regions = [
        [] if isinstance(outcome, Failure) else builder.regions(query, outcome)
        for query, outcome in zip(queries, outcomes, strict=True)
    ]
    return builder.assemble(queries, outcomes, regions)
