"""How many requests a process works on at once, and who gets the last slots."""

import threading
from contextlib import ExitStack

import pytest

from grounded_labeler.errors import NotReady
from grounded_labeler.inference.backend import Priority
from grounded_labeler.inference.slots import RequestSlots
from tests.helpers.models_thread import WAIT_S

TYPED, PRE = Priority.TYPED_PROMPT, Priority.PREANNOTATION


def test_slots_are_shared_by_all_threads_and_given_back() -> None:
    slots = RequestSlots(2)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with slots.take():
            entered.set()
            leave.wait(WAIT_S)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(WAIT_S)
    with slots.take(), pytest.raises(NotReady, match="Too many"), slots.take():
        pass
    leave.set()
    holder.join()
    with pytest.raises(KeyError), slots.take():
        raise KeyError
    with slots.take(), slots.take():
        pass


@pytest.mark.parametrize(("count", "for_all"), [(1, 1), (3, 3), (4, 3), (16, 12)])
def test_a_quarter_of_the_slots_is_for_typed_prompts_alone(count: int, for_all: int) -> None:
    slots = RequestSlots(count)
    with ExitStack() as taken:
        for _ in range(for_all):
            taken.enter_context(slots.take(PRE))
        with pytest.raises(NotReady, match="Too many"):
            taken.enter_context(slots.take(PRE))
        for _ in range(count - for_all):
            taken.enter_context(slots.take(TYPED))
        with pytest.raises(NotReady, match="Too many"):
            taken.enter_context(slots.take(TYPED))
    with slots.take(PRE):
        pass
