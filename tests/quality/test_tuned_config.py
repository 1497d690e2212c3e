"""What tuning writes where a label's own prompt has thresholds."""

from dataclasses import replace

import numpy as np

from grounded_labeler.evaluation.curve import F1
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.quality.held_out import Gain
from grounded_labeler.quality.phrases import Phrases
from grounded_labeler.quality.tuned import Tally, Tuned, TunedLabel, TunedModels
from grounded_labeler.quality.tuned_config import tuned_config
from grounded_labeler.weights.choice import ModelChoice
from tests.helpers.asking import IMAGE, PROMPT, view

STAR = '<Label value="Star" prompt="star &gt; 0.2 . sun"/>'
XML = view(PROMPT, IMAGE, f'<RectangleLabels name="l" toName="image">{STAR}</RectangleLabels>')
PHRASES, NOTHING = Phrases(("star", "sun")), Tally(0, 0, 0)
LABEL = TunedLabel(
    "Star", PHRASES, PHRASES, 0.2, 0.2, None, 9, NOTHING, NOTHING, Gain(0.1, 0.0, 0.2)
)


def tuned(label: TunedLabel) -> Tuned:
    none = np.zeros((0, 1, 3), np.int64)
    models = TunedModels(ModelChoice("demo", "demo", None), (label,), (), none, none, {})
    return Tuned(F1(), models, models, (models,), None)


def test_a_chosen_threshold_is_the_only_one() -> None:
    edited = tuned_config(XML, tuned(replace(LABEL, threshold=0.4)))
    [label] = read_label_config(edited).images[0].labels
    assert (label.prompt, label.score_threshold) == ("star . sun", 0.4)


def test_a_label_that_keeps_its_threshold_keeps_its_prompt() -> None:
    assert tuned_config(XML, tuned(LABEL)) == XML
