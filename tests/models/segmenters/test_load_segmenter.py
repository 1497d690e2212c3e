from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        SettingsError, match="must be one of sam, mobile-sam, sam2, sam3, got 'sam9'"
    ):
        load_segmenter("sam9", Path(), Compute())
