"""The models' answers about images, or the reason why there is none for one of them."""

import logging
from collections.abc import Callable, Sequence

from grounded_labeler import metrics
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.errors import GroundedLabelerError, OutOfMemory, PromptError
from grounded_labeler.label_studio.regions import wants_masks
from grounded_labeler.label_studio.task_images import TaskImage, name_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import NO_SEGMENTER

logger = logging.getLogger(__name__)

RunJobs = Callable[[Sequence[InferenceRequest]], list[InferenceResult]]


def find(
    looks: Sequence[TaskImage], run: RunJobs, settings: Settings
) -> list[InferenceResult | str]:
    """What `run` answers for each image; a sentence for one that it cannot answer for.

    Errors that are not about the images (NotReady, PromptError, CallerGone) are raised; a
    PromptError is about one image where its task has labels of its own.
    """
    try:
        return _ask(looks, run, settings)
    except GroundedLabelerError as error:
        is_of_task = any(look.query.is_of_task for look in looks)
        if not (isinstance(error, PromptError) and is_of_task):
            raise
        cause, reason = "PromptError", str(error)
    except OutOfMemory as error:
        logger.warning("The memory is too small for %d images: %s", len(looks), error)
        cause, reason = "out of memory", "This image needs more memory than there is."
    except Exception:
        logger.exception("The models failed on %d images", len(looks))
        cause = "model"
        reason = "The models failed on this image: the log says why."
    if len(looks) == 1:
        task = name_of(looks[0].task)
        logger.warning("task %s: %s", task, reason, extra={"task": task})
        metrics.FAILURES.labels(cause).inc()
        return [reason]
    # One image that is too much for the memory must not take the others with it.
    return [answer for look in looks for answer in find([look], run, settings)]


def _ask(
    looks: Sequence[TaskImage], run: RunJobs, settings: Settings
) -> list[InferenceResult | str]:
    has_segmenter = settings.segmenter != NO_SEGMENTER
    jobs = [
        InferenceRequest(
            look.picture,
            look.query.prompt,
            look.query.target.labels,
            look.query.thresholds,
            wants_masks(look.query.target, settings.output, has_segmenter),
            look.query.lower_threshold,
        )
        for look in looks
        if look.picture is not None
    ]
    found = run(jobs) if jobs else []
    for answer in found:
        metrics.STAGES.labels("detect").observe(answer.detect_seconds)
        if answer.masks is not None:
            metrics.STAGES.labels("segment").observe(answer.segment_seconds)
    answers = iter(found)
    return [look.error if look.picture is None else next(answers) for look in looks]
