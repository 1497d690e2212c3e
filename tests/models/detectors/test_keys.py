from pathlib import Path

import pytest

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.keys import refuse_keys


def test_keys_that_do_not_fit_are_named() -> None:
    refuse_keys(Path("model"), [], [])
    with pytest.raises(
        WeightsError, match=r"4 weights are missing \(a, b, c, \.\.\.\) and 1 .*\(x\)"
    ):
        refuse_keys(Path("model"), ["d", "c", "b", "a"], ["x"])
