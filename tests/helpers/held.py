"""A store of prompts that tests hold up."""

import threading

from grounded_labeler.prompts.store import Entry, StoreError


class Held:
    """A store whose writes are held up until they are let go."""

    place, remedy = "somewhere", "Wait."

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.kept: list[tuple[str, str]] = []
        self.fails = False

    def newest(self, project: str) -> tuple[float, str] | None:
        known = [prompt for name, prompt in self.kept if name == project]
        return (0.0, known[-1]) if known else None

    def save(self, project: str, learned: float, prompt: str) -> None:
        self.begun.set()
        assert self.go_on.wait(60)
        if self.fails:
            raise StoreError("It fails.")
        self.kept.append((project, prompt))

    def entries(self) -> list[Entry]:
        raise NotImplementedError

    def delete(self, project: str) -> None:
        raise NotImplementedError
