from pathlib import Path

import pytest
import torch

from grounded_labeler.detectors import load_detector, pick_device
from grounded_labeler.errors import SettingsError


def test_unknown_engine_is_named() -> None:
    with pytest.raises(SettingsError, match="got 'yolo'"):
        load_detector("yolo", Path(), "cpu")


@pytest.mark.parametrize(("usable", "device"), [(True, "cuda"), (False, "cpu")])
def test_device_follows_what_torch_can_use(
    monkeypatch: pytest.MonkeyPatch, usable: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    assert pick_device() == device
