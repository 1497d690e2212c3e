"""What the models found, as the predictions that Label Studio keeps and annotators read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grounded_labeler import metrics, tracing
from grounded_labeler.core.inference import (
    Failure,
    FailureCause,
    InferenceResult,
    Outcome,
    task_failure,
)
from grounded_labeler.core.polygons import LeftOut, total_left_out
from grounded_labeler.label_studio.provenance import Provenance
from grounded_labeler.label_studio.queries import AnyQuery, Query
from grounded_labeler.label_studio.region_values import ValuesOf, region_values
from grounded_labeler.label_studio.regions import encode_regions, text_result
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig
from grounded_labeler.label_studio.status_message import describe, describe_drawn, describe_left_out
from grounded_labeler.label_studio.task_images import TaskImage, name_of
from grounded_labeler.request_context import task_named
from grounded_labeler.settings_types import Output

logger = logging.getLogger(__name__)

_TASK_LINE = (
    "%(named)s: %(width)dx%(height)d, %(phrases)d phrases, %(found)d found; ms: "
    "fetch %(fetch_ms)d, decode %(decode_ms)d, detect %(detect_ms)d, segment %(segment_ms)d, "
    "encode %(encode_ms)d"
)
_LEFT_OUT = "; polygons leave out %(left_out)d specks and holes, %(left_out_share).4f of the area"

Result = dict[str, Any]
Prediction = dict[str, Any]


@dataclass(frozen=True)
class PredictionBuilder:
    """Makes the predictions of one request.

    When `typed`, an annotator waits: every prediction has a `result`, and the status
    field is told what happened. Otherwise a task that failed has no `result`, which
    Label Studio skips and asks for again; the status field is told of a remembered prompt.
    `with_provenance` has each region say in its Info panel why it is there; `values_of` makes the
    values of regions.
    """

    config: LabelConfig
    output: Output
    model_version: str
    typed: bool
    with_provenance: bool = False
    values_of: ValuesOf = region_values

    def of_task(self, looks: Sequence[TaskImage], found: Sequence[Outcome]) -> Prediction:
        """The prediction of one task from all its images, of those that it has.

        It is counted, and each image is logged.
        """
        if not self.typed and (failure := task_failure(found)) is not None:
            metrics.TASKS.labels("failed").inc()
            return self.without_result(failure.reason)
        regions: list[list[Result]] = []
        left_out: list[list[LeftOut]] = []
        for look, answer in zip(looks, found, strict=True):
            left_out.append([])
            if isinstance(answer, InferenceResult):
                task = name_of(look.task)
                with metrics.timed("encode") as encoding, tracing.span("encode", task=task):
                    regions.append(self.regions(look.query, answer, left_out[-1]))
                    tracing.note(regions=len(answer.detections))
                count_image(look, answer, encoding.seconds, left_out[-1])
            else:
                regions.append([])
        failed = all(isinstance(answer, Failure) for answer in found)
        metrics.TASKS.labels("failed" if failed else "answered").inc()
        return self.assemble([look.query for look in looks], found, regions, left_out)

    def regions(
        self, query: AnyQuery, found: InferenceResult, left_out: list[LeftOut] | None = None
    ) -> list[Result]:
        """The regions of one image; to `left_out` is added what polygons lack of their masks."""
        height, width = found.size_hw
        return encode_regions(
            found.detections,
            found.masks,
            query.target,
            (width, height),
            self.output,
            provenance=(Provenance.of(query, self.model_version) if self.with_provenance else None),
            left_out=left_out,
            values_of=self.values_of,
        )

    def assemble(
        self,
        queries: Sequence[AnyQuery],
        found: Sequence[Outcome],
        regions: Sequence[list[Result]],
        left_out: Sequence[Sequence[LeftOut]] | None = None,
    ) -> Prediction:
        """The prediction of a task that has `regions` in each image, with its text fields.

        `left_out` is what the polygons of each image lack; None where nobody counted it.
        """
        results: list[Result] = []
        sentences: list[tuple[ImageTarget, str]] = []
        lacking = left_out or [()] * len(queries)
        for query, answer, own, lack in zip(queries, found, regions, lacking, strict=True):
            results += own
            target, remembered = query.target, None if self.typed else query.text
            if self.typed or remembered is not None:
                sentences.append((target, _sentence(query, answer, lack)))
            is_missing = isinstance(answer, Failure) and answer.cause is FailureCause.MISSING
            if remembered is not None and target.prompt_name and not is_missing:
                # A remembered prompt is shown where the annotator would have typed it.
                results.append(text_result(target.prompt_name, target, remembered))
        return self.with_results(results + self.status(sentences))

    def with_results(self, results: list[Result]) -> Prediction:
        """A prediction that Label Studio keeps; its score is the mean of its regions'."""
        # By id: a bare Rectangle and its label are two results of one region.
        scores = {result["id"]: result["score"] for result in results if "score" in result}
        score = round(sum(scores.values()) / len(scores), 4) if scores else 0.0
        return {"result": results, "score": score, "model_version": self.model_version}

    def without_result(self, reason: str) -> Prediction:
        """A prediction that Label Studio skips; `reason` is for people who read the answer."""
        return {"model_version": self.model_version, "error": reason}

    def status(self, sentences: Sequence[tuple[ImageTarget, str]]) -> list[Result]:
        """What the status fields are told of each image; one without a field uses another's."""
        lines: dict[str, list[str]] = {}
        for target, sentence in sentences:
            if target.status_name:
                lines.setdefault(target.name, []).append(sentence)
            elif self.config.with_status:
                home = self.config.with_status[0]
                lines.setdefault(home.name, []).append(f"{target.name}: {sentence}")
        return [
            text_result(target.status_name, target, " ".join(lines[target.name]))
            for target in self.config.with_status
            if target.status_name and target.name in lines
        ]


def count_image(
    seen: TaskImage,
    found: InferenceResult,
    encode_seconds: float,
    left_out: Sequence[LeftOut] = (),
) -> None:
    """Count the regions of an image and log a line about it, and what its polygons leave out."""
    height, width = found.size_hw
    metrics.REGIONS.inc(len(found.detections))
    name = name_of(seen.task)
    facts: dict[str, int | float | str] = {
        "task": name,
        "width": width,
        "height": height,
        "phrases": len(seen.query.prompt.phrases) if isinstance(seen.query, Query) else 0,
        "found": len(found.detections),
        "fetch_ms": round(seen.fetch_seconds * 1000),
        "decode_ms": round(seen.decode_seconds * 1000),
        "detect_ms": round(found.detect_seconds * 1000),
        "segment_ms": round(found.segment_seconds * 1000),
        "encode_ms": round(encode_seconds * 1000),
    }
    line = _TASK_LINE
    if left_out:
        total = total_left_out(left_out)
        facts |= {"left_out": total.parts + total.holes, "left_out_share": round(total.share, 4)}
        line += _LEFT_OUT
    # The log leaves the prompt out unless LOG_PROMPTS is set: see logs.Prompts.
    extra = facts if seen.query.text is None else facts | {"prompt": seen.query.text}
    logger.info(line, facts | {"named": task_named(name)}, extra=extra)


def _sentence(query: AnyQuery, answer: Outcome, left_out: Sequence[LeftOut]) -> str:
    if isinstance(answer, Failure):
        return answer.reason
    said = describe(answer, query) if isinstance(query, Query) else describe_drawn(answer, query)
    return f"{said} {describe_left_out(left_out)}".rstrip()
