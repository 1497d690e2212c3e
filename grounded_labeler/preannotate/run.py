"""The run itself: tasks in batches to the models, answers to where they are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from grounded_labeler.answers import Answers, Prediction
from grounded_labeler.looks import Task
from grounded_labeler.predictions import Predictor
from grounded_labeler.questions import Question, version_of
from grounded_labeler.service import Service, model_name
from grounded_labeler.settings import Settings
from grounded_labeler.targets import LabelConfig

# Answered together, so that images are fetched ahead, and kept together: what a kill loses.
_CHUNK = 16


@dataclass(frozen=True)
class Run:
    """What is asked of every task of a project."""

    settings: Settings
    config: LabelConfig
    questions: Sequence[Question]

    @property
    def version(self) -> str:
        """The model version, the same as the service has for the same question."""
        return version_of(model_name(self.settings), self.settings.output, list(self.questions))

    def answer(
        self,
        service: Service,
        project: str,
        tasks: Sequence[Task],
        keep: Callable[[Mapping[int | str, Prediction]], None],
    ) -> None:
        """Let `service` answer the tasks of a project; `keep` gets the answers, by task id.

        Raises PromptError when a phrase is too long to ask, and what `keep` raises.
        """
        answers = Answers(self.config, self.settings.output, self.version, typed=False)
        predictor = Predictor(service, project, answers)
        for first in range(0, len(tasks), _CHUNK):
            chunk = tasks[first : first + _CHUNK]
            predictions = predictor.predict(chunk, self.questions)
            keep({task["id"]: one for task, one in zip(chunk, predictions, strict=True)})
