"""What is copied has the service look for what the playground shows."""

import numpy as np
import pytest

from grounded_labeler.core.label_matching import labels_of
from grounded_labeler.core.postprocess import own_thresholds
from grounded_labeler.core.prompt import phrases_from_labels
from grounded_labeler.core.types import Candidates, Label, Thresholds
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.labeler import parse_query
from grounded_labeler.playground.label_config import write_label_config
from grounded_labeler.playground.selection import Limits
from grounded_labeler.server.inspector import Inspection

LIMITS = Thresholds(0.3, 0.25, 0.7, 300)


def inspection(text: str, *labels: Label) -> Inspection:
    prompt, known = parse_query(text, labels or None)
    count = len(prompt.phrases)
    scores = np.zeros((0, count), np.float32)
    nothing = Candidates(np.zeros((0, 4), np.float32), scores, scores, np.zeros(0, np.intp))
    meant = labels_of(prompt.phrases, known)
    thresholds = own_thresholds(prompt, meant, known)
    return Inspection((9, 9), prompt, meant, thresholds, LIMITS, nothing)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("star", ()),
        ("red star . circle", ()),
        ("star -> Star . sun -> Star . circle -> Round", ()),
        ("star . circle . -red circle", ()),
        ("car . person", (Label("Car", score_threshold=0.42), Label("Person"))),
        ('a "quoted" <thing> & more', ()),
        ("été . 猫", ()),
        ("star > 0.2 -> Star . sun -> Star > 0.3 . circle > 0.4 . -red circle > 0.5", ()),
    ],
)
def test_the_service_looks_for_the_same_phrases(text: str, labels: tuple[Label, ...]) -> None:
    seen = inspection(text, *labels)
    xml = write_label_config(seen, Limits(0.31, 0.22), ("demo", "demo"))
    config = read_label_config(xml)
    [target] = config.images
    asked = phrases_from_labels(target.labels)
    wanted = {(one.text.casefold(), one.negative) for one in seen.prompt.phrases}
    assert {(one.text.casefold(), one.negative) for one in asked.phrases} == wanted
    meant = dict(zip(seen.prompt.phrases, seen.phrase_labels, strict=True))
    by_text = {one.text.casefold(): one.label for one in asked.phrases}
    for phrase, label in meant.items():
        if not phrase.negative:
            assert by_text[phrase.text.casefold()] == (label or phrase.text)
    assert target.overrides.box_threshold == 0.31
    assert target.overrides.text_threshold == 0.22
    assert (config.models.detector, config.models.segmenter) == ("demo", "demo")
    assert target.prompt_name == "prompt"
    own = {label.value: label.score_threshold for label in target.labels}
    assert own.get("Car") == (0.42 if labels else None)
    meant_again = labels_of(asked.phrases, target.labels)
    held = own_thresholds(asked, meant_again, target.labels)
    by_phrase = {one.text.casefold(): limit for one, limit in zip(asked.phrases, held, strict=True)}
    for phrase, limit in zip(seen.prompt.phrases, seen.score_thresholds, strict=True):
        assert by_phrase[phrase.text.casefold()] == limit


def test_masks_are_asked_for_where_there_is_a_segmenter() -> None:
    seen = inspection("star")
    with_masks = read_label_config(write_label_config(seen, Limits(0.3, 0.2), ("demo", "demo")))
    without = read_label_config(write_label_config(seen, Limits(0.3, 0.2), ("demo", "none")))
    assert [one.geometry for one in with_masks.images[0].controls] == ["box", "brush"]
    assert [one.geometry for one in without.images[0].controls] == ["box"]
