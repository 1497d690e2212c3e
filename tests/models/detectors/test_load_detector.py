from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.detectors import Options, export_detector, load_detector


def test_unknown_engine_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="got 'yolo'"):
        load_detector("yolo", tmp_path, Options())
    with pytest.raises(SettingsError, match="got 'yolo'"):
        export_detector("yolo", tmp_path, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []
