"""What errors say of prompts to those who typed them, and to the log."""

import pickle

import pytest

from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError
from grounded_labeler.models.detectors.caption import phrase_too_long


@pytest.mark.parametrize(
    "typed",
    [
        "zebra >",
        "zebra > 7",
        'a "zebra" > x',
        "> 0.2 zebra",
        "zebra > 0.2 zebra",
        "zebra > 0.2 zebra -> Horse",
        "zebra > 0.2 -> Horse > 0.3",
        "zebra " * 50 + ">",
        "zebra\t>  9",
    ],
)
def test_a_prompt_that_cannot_be_read_is_cited_to_its_writer_alone(typed: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_prompt(typed, (Label("Horse"),))
    assert "zebra" in str(caught.value)
    assert "zebra" not in caught.value.without_citation
    assert '"…"' in caught.value.without_citation


def test_a_phrase_that_is_too_long_is_cited_to_its_writer_alone() -> None:
    error = phrase_too_long("zebra " * 200, 400, 254)
    assert "zebra" in str(error)
    assert error.without_citation.startswith('The phrase "…" is 400 tokens long')


def test_a_cluster_returns_an_error_with_its_citation() -> None:
    error = pickle.loads(pickle.dumps(phrase_too_long("zebra", 400, 254)))
    assert (type(error), error.cited) == (PromptError, "zebra")
    assert PromptError("It has no segmenter.").without_citation == "It has no segmenter."
