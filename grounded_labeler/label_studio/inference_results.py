"""The results of the models for images, or the reason why one image has none."""

import logging
from collections.abc import Callable, Sequence

from grounded_labeler import metrics, tracing
from grounded_labeler.core.inference import (
    Failure,
    FailureCause,
    InferenceRequest,
    InferenceResult,
    Outcome,
    Request,
    SegmentRequest,
)
from grounded_labeler.core.time_limit import TimeLimit
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import GroundedLabelerError, OutOfMemory, PromptError
from grounded_labeler.label_studio.queries import AnyQuery, VisualQuery
from grounded_labeler.label_studio.regions import wants_masks
from grounded_labeler.label_studio.task_images import TaskImage, name_of, warn_of_task
from grounded_labeler.settings_types import Output

logger = logging.getLogger(__name__)

RunRequests = Callable[[Sequence[Request]], list[InferenceResult]]


def results_of(
    images: Sequence[TaskImage],
    run: RunRequests,
    output: Output,
    has_segmenter: bool,
    tile_limit: TimeLimit,
) -> list[Outcome]:
    """Return the result of `run` for each image; a Failure for one that has none.

    `tile_limit` is how long tiles may still take.

    Errors that are not about the images (NotReady, PromptError, CallerGone) are raised; a
    PromptError is about one image where its task has labels of its own.
    """
    reason: PromptError | None = None
    try:
        return _run_all(images, run, output, has_segmenter, tile_limit)
    except GroundedLabelerError as error:
        is_of_task = any(image.query.is_of_task for image in images)
        if not (isinstance(error, PromptError) and is_of_task):
            raise
        failure = Failure(str(error), FailureCause.PROMPT)
        # For the log, and without the frames that `error` came through: they hold images.
        reason = PromptError(str(error), error.cited)
    except OutOfMemory as error:
        logger.warning("The memory is too small for %d images: %s", len(images), error)
        failure = Failure("This image needs more memory than there is.", FailureCause.MEMORY)
    except Exception:
        logger.exception("The models failed on %d images", len(images))
        sentence = "The models failed on this image: the log says why."
        failure = Failure(sentence, FailureCause.MODEL)
    if len(images) == 1:
        warn_of_task(images[0].task, reason or failure.reason)
        metrics.FAILURES.labels(failure.cause).inc()
        return [failure]
    # One image that is too much for the memory must not take the others with it.
    return [
        result
        for image in images
        for result in results_of([image], run, output, has_segmenter, tile_limit)
    ]


def _run_all(
    images: Sequence[TaskImage],
    run: RunRequests,
    output: Output,
    has_segmenter: bool,
    tile_limit: TimeLimit,
) -> list[Outcome]:
    asked = [
        (image, _request(image.image, image.query, output, has_segmenter, tile_limit))
        for image in images
        if image.image is not None
    ]
    results: list[InferenceResult] = []
    if asked:
        with tracing.span("models", images=len(asked)):
            results = run([request for _, request in asked])
            for (image, request), result in zip(asked, results, strict=True):
                note_stages(request, result, task=name_of(image.task), prompt=image.query.text)
    each = iter(results)
    return [image.failure or next(each) for image in images]


def note_stages(
    request: Request,
    result: InferenceResult,
    *,
    task: int | str | None = None,
    prompt: str | None = None,
) -> None:
    """Count how long the stages of a request took that ran on the models, and add their spans.

    The models may have been those of another process: each result says when its stages began.
    """
    if isinstance(request, InferenceRequest):
        metrics.STAGES.labels("detect").observe(result.detect_seconds)
        tracing.add_span(
            "detect",
            result.detect_start_ns,
            result.detect_seconds * result.batch_size,
            task=task,
            batch_size=result.batch_size,
            phrases=len(request.prompt.phrases),
            found=len(result.detections),
            prompt=tracing.shown_prompt(prompt),
        )
    if result.masks is not None:
        metrics.STAGES.labels("segment").observe(result.segment_seconds)
        tracing.add_span(
            "segment",
            result.segment_start_ns,
            result.segment_seconds,
            task=task,
            masks=len(result.masks),
        )


def _request(
    image: DecodedImage,
    query: AnyQuery,
    output: Output,
    has_segmenter: bool,
    tile_limit: TimeLimit,
) -> Request:
    height, width = image.pixels.shape[:2]
    if isinstance(query, VisualQuery):
        return SegmentRequest(image, query.drawing.prompts((width, height)), query.drawing.label)
    inside = None if query.inside is None else query.inside.in_pixels((width, height))
    return InferenceRequest(
        image,
        query.prompt,
        query.target.labels,
        query.thresholds,
        wants_masks(query.target, output, has_segmenter),
        query.with_near_misses,
        query.candidates_from,
        query.tiling,
        tile_limit,
        inside=inside,
        with_embedding=query.with_embedding,
    )
