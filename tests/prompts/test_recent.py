"""What was typed for a task lately is known for as many tasks as there is room for."""

from grounded_labeler.prompts.recent import RecentPrompt, RecentPrompts


def test_the_newest_of_each_task_is_known_and_the_oldest_task_goes_first() -> None:
    recent = RecentPrompts(max_tasks=2)
    assert recent.newest("1") is None
    for task, text in (("1", "cat"), ("2", "dog"), ("1", "cow"), ("3", "hen")):
        recent.note(task, RecentPrompt(text))
    known = [None if one is None else one.text for one in map(recent.newest, "123")]
    assert known == ["cow", None, "hen"]
