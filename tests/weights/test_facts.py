"""Every model of the catalog has its facts, and every figure its source."""

from collections.abc import Mapping

import pytest

from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.facts import DETECTOR_FACTS, SEGMENTER_FACTS, Facts
from grounded_labeler.weights.model import Model

KINDS = [
    pytest.param(DETECTORS, DETECTOR_FACTS, id="detectors"),
    pytest.param(SEGMENTERS, SEGMENTER_FACTS, id="segmenters"),
]


@pytest.mark.parametrize(("models", "facts"), KINDS)
def test_every_model_has_its_facts(models: Mapping[str, Model], facts: Mapping[str, Facts]) -> None:
    assert models.keys() == facts.keys()
    for name, one in facts.items():
        assert one.use, name
        assert bool(one.about_bytes) == bool(one.size_source), name
        assert bool(one.gflop) == bool(one.gflop_note), name
        assert all(0 < figure.value < 100 and figure.source for figure in one.published), name


@pytest.mark.parametrize(("models", "facts"), KINDS)
def test_a_size_is_about_that_of_the_files_that_are_known(
    models: Mapping[str, Model], facts: Mapping[str, Facts]
) -> None:
    for name, model in models.items():
        stated = facts[name].about_bytes
        assert stated is None or model.hub is not None, f"{name} has an exact size"
        if stated is not None and model.files:
            assert stated == pytest.approx(sum(file.bytes for file in model.files), rel=0.01), name
