"""What was last typed for each task, for the requests that do not hold it."""

import threading
from dataclasses import dataclass

from grounded_labeler.cache import put_newest

_MAX_TASKS = 1000


@dataclass(frozen=True)
class RecentPrompt:
    """A prompt that an annotator typed, with the thresholds that they set beside it.

    `saved` tells what of the task was saved at that time: a draft that is another one now is
    newer than the prompt.
    """

    text: str
    box_threshold: float | None = None
    text_threshold: float | None = None
    saved: str = ""


class RecentPrompts:
    """What was last typed for each task that was asked about lately, in this process only.

    Label Studio sends no prompt with what an annotator draws, and saves a draft only some seconds
    after the prompt was typed. Other worker processes do not know what this one was told. Threads
    may share an instance.
    """

    def __init__(self, max_tasks: int = _MAX_TASKS) -> None:
        """Hold what was typed for the last `max_tasks` tasks."""
        self._max_tasks = max_tasks
        self._lock = threading.Lock()
        self._prompts: dict[str, RecentPrompt] = {}

    def note(self, task: str, prompt: RecentPrompt) -> None:
        """Make `prompt` the newest of the key of a task."""
        with self._lock:
            put_newest(self._prompts, task, prompt, self._max_tasks)

    def newest(self, task: str) -> RecentPrompt | None:
        """Return what was noted last for the key of a task, None if nothing was."""
        with self._lock:
            return self._prompts.get(task)
