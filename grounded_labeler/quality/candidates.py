"""All candidates of a detector in annotated images, kept, so that thresholds cost no run of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property

from grounded_labeler.core.inference import Failure
from grounded_labeler.core.postprocess import select
from grounded_labeler.core.types import Candidates
from grounded_labeler.errors import PromptError
from grounded_labeler.evaluation.types import Found, Truth
from grounded_labeler.label_studio.config_settings import choose_models
from grounded_labeler.label_studio.queries import Query, default_queries
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.first_line import describe_run
from grounded_labeler.preannotate.journal import Journal, tasks_left
from grounded_labeler.preannotate.names import JOURNAL
from grounded_labeler.preannotate.plan import as_dataset
from grounded_labeler.preannotate.results import (
    ImageResult,
    TaskId,
    TaskOutcome,
    TaskOutcomes,
    TaskResult,
)
from grounded_labeler.preannotate.run import Run
from grounded_labeler.preannotate.running import Running, run_models
from grounded_labeler.quality.subject import Subject, TruthError
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.summary import summarize

# The lowest score of what is kept. COCO's AP counts down to nothing; what scores less than this
# is noise in every detector here, and would make a mask for each.
FLOOR = 0.05
_MAX_REGIONS = 100  # of an image, as COCO's own evaluation counts them

_NO_OVERRIDES = Overrides()


@dataclass(frozen=True)
class Variant:
    """One way to label: what differs from what the project, the settings and the models say.

    `prompt` is asked instead of the labels; `choice` are the models, those of the project if None.
    """

    prompt: str | None = None
    overrides: Overrides = _NO_OVERRIDES
    choice: ModelChoice | None = None


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """One annotated image: its truth, and all candidates of the detector before any threshold.

    Attributes:
        task: the task's id; `target` is the name of the Image tag.
        query: what was asked, with the thresholds that hold for it.
        result: what the models found from the lowest score on, with the candidates.
        truth: what people say is in the image.
    """

    task: TaskId
    target: str
    query: Query
    result: ImageResult
    truth: Truth

    @property
    def candidates(self) -> Candidates:
        """The candidates that score at least the floor with some phrase."""
        if self.result.candidates is None:
            raise ValueError("the run kept no candidates")
        return self.result.candidates

    def found(self, box_thresholds: Sequence[float] | None = None) -> Found:
        """Return what the service returns, boxes alone, at these thresholds of the P phrases.

        At those that hold if None.
        """
        query, (height, width) = self.query, self.result.size_hw
        limits = query.thresholds
        found = select(
            self.candidates,
            query.prompt,
            query.phrase_labels,
            box_thresholds=query.box_thresholds if box_thresholds is None else box_thresholds,
            text_threshold=limits.text,
            nms_threshold=limits.nms,
            max_regions=limits.max_regions,
            size_wh=(width, height),
        )
        pairs = zip(found.labels, found.phrases, strict=True)
        names = tuple(label or phrase for label, phrase in pairs)
        return Found(found.boxes, found.scores, names)

    def found_from_floor(self) -> Found:
        """Return what scores at least the floor, with masks if the run made them."""
        one = self.result
        return Found(one.boxes, one.scores, tuple(one.names), one.masks)


class CandidateSet:
    """The candidates of one variant in the images of a subject, kept in a journal.

    What is there already is not run again, also after an interrupt.
    """

    def __init__(
        self,
        subject: Subject,
        variant: Variant,
        settings: Settings,
        running: Running,
        *,
        floor: float = FLOOR,
        with_masks: bool = False,
    ) -> None:
        """Say what is asked of which images; `run` asks it.

        Raises PromptError when there is nothing to look for, BadRequest for models that are not
        offered, and what reading the weights' names raises.
        """
        self._subject, self._running, self.floor = subject, running, floor
        self._overrides = variant.overrides
        choice = variant.choice or choose_models(subject.config.models, settings.offered)
        output = "both" if with_masks and choice.has_segmenter else "boxes"
        settings = settings.with_choice(choice).model_copy(update={"output": output})
        config = replace(subject.config, images=tuple(map(as_dataset, subject.config.images)))
        self.queries = default_queries(
            config,
            settings,
            summarize(choice, settings.model_dir),
            subject.remembered,
            prompt=variant.prompt,
            overrides=variant.overrides,
        )
        if not self.queries:
            raise PromptError('There are no labels to look for: pass --prompt "red car".')
        self._run = Run(
            settings, config, [self._at_floor(one) for one in self.queries], subject.project
        )

    @property
    def first_line(self) -> str:
        """What is asked and by which thresholds, tiles and models, for people."""
        return describe_run(self._run, self._overrides, self.queries)

    @property
    def models(self) -> str:
        """The models' names, for people."""
        return self._run.models

    @property
    def has_masks(self) -> bool:
        """Whether the run makes a mask of each object."""
        return self._run.settings.output == "both"

    @property
    def version(self) -> str:
        """The model version that the results are kept under."""
        return self._run.version

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels that are looked for, each once; then the phrases that no label fits."""
        labels: dict[str, None] = {}
        phrases: dict[str, None] = {}
        for query in self._queries_of_tasks():
            for phrase, label in zip(query.prompt.phrases, query.phrase_labels, strict=True):
                if not phrase.negative:
                    (phrases if label is None else labels)[label or phrase.text] = None
        return tuple(labels | phrases)

    def _queries_of_tasks(self) -> Iterator[Query]:
        """The queries, and instead of one that tasks bring labels for, that of each task."""
        for query in self.queries:
            if not query.target.has_task_labels:
                yield query
                continue
            for task in self._subject.tasks:
                with suppress(PromptError):  # told by `run`
                    yield query.of_task(task["data"])

    def run(self) -> Mapping[TaskId, str]:
        """Run the models on the images that were not run before.

        Return why some are not measured, by task: there is no result, or no truth that fits.

        Raises what the models and the journal raise.
        """
        subject, running = self._subject, self._running
        with closing(self._journal()) as journal:
            left = tasks_left(
                journal, subject.source, subject.tasks,
                concurrency=running.concurrency, overwrite=False, dry=False,
            )  # fmt: skip
            known = {task["id"]: task for task in subject.tasks}

            def keep(outcomes: TaskOutcomes) -> None:
                journal.add(
                    [
                        (
                            i,
                            None
                            if isinstance(one, Failure)
                            else subject.source.content_seen(known[i], one),
                            one,
                        )
                        for i, one in outcomes.items()
                    ]
                )

            run_models(self._run, left, len(subject.tasks) - len(left), running, keep)
            reasons = {i: self._why_not(known[i], journal.outcome(i)) for i in known}
            return {i: reason for i, reason in reasons.items() if reason is not None}

    def images(self) -> Iterator[ScoredImage]:
        """Read the images that have a truth and a result, in the order of the tasks."""
        with closing(self._journal()) as journal:
            for task in self._subject.tasks:
                outcome = journal.outcome(task["id"])
                if isinstance(outcome, TaskResult):
                    with suppress(TruthError):  # told by `run`
                        yield from self._images_of(task, outcome)

    def _images_of(self, task: Task, outcome: TaskResult) -> list[ScoredImage]:
        images = []
        for query in self.queries:
            name = query.target.name
            result = outcome.images.get(name)
            if isinstance(result, ImageResult):
                truth = self._subject.truth(task, name, result.size_hw)
                if truth is not None:
                    own = query.of_task(task["data"])
                    images.append(ScoredImage(task["id"], name, own, result, truth))
        return images

    def _why_not(self, task: Task, outcome: TaskOutcome | None) -> str | None:
        """Why a task is not measured; None where it is."""
        if isinstance(outcome, TaskResult):
            try:
                self._images_of(task, outcome)
            except TruthError as error:
                return str(error)
        return outcome.reason if isinstance(outcome, Failure) else None

    def _journal(self) -> Journal:
        source = self._subject.source
        path = self._running.out / JOURNAL
        return Journal(path, (source.identity, source.name), self._run.version)

    def _at_floor(self, query: Query) -> Query:
        limits = replace(
            query.thresholds, box=self.floor, max_regions=_MAX_REGIONS, overrides_labels=True
        )
        prompt = query.prompt.without_thresholds()
        return replace(query, prompt=prompt, thresholds=limits, candidates_from=self.floor)
