"""What `--compare` is given, and the sentences where it cannot be used."""

from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.quality.variants import Changes, read_changes
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice
from tests.quality.drawn import draw, drawn_subject


def test_now_changes_nothing() -> None:
    assert read_changes(" now ") == Changes("now")


def test_all_that_is_named_changes() -> None:
    text = "detector=llmdet-tiny; segmenter=none;box_threshold = 0.4;text_threshold=0.1"
    assert read_changes(text) == Changes(
        text,
        detector="llmdet-tiny",
        segmenter="none",
        overrides=Overrides(box_threshold=0.4, text_threshold=0.1),
    )


def test_a_prompt_may_hold_semicolons_and_equals_signs() -> None:
    assert read_changes("prompt=car; dog; cat").prompt == "car; dog; cat"
    assert read_changes("prompt=size=large car").prompt == "size=large car"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("promt=car", 'has "promt=car", which must be now, or one of prompt, detector'),
        ("car", 'has "car", which must be now'),
        ("", 'has "", which must be now'),
        ("prompt=car;threshold=0.3", 'has "threshold=0.3", which must be'),
        ("box_threshold=2", "box_threshold=2, which must be from 0 to 1"),
        ("box_threshold=nan", "box_threshold=nan, which must be from 0 to 1"),
        ("prompt=", "prompt without a value"),
        ("prompt=a;prompt=b", "prompt twice"),
        ("detector=yolo", "detector=yolo, which must be one of"),
        ("label_config=/no/such/file.xml", "No such file"),
    ],
)
def test_what_cannot_be_compared_is_told(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_changes(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_label_config_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_text(
        '<View><Image name="image" value="$image"/><RectangleLabels name="l" toName="image">'
        '<Label value="Disc" prompt="circle"/></RectangleLabels></View>'
    )
    subject = drawn_subject(tmp_path / "images", draw(1))
    changed, variant = read_changes(f"label_config={path}").apply(subject, Settings.from_env({}))
    assert [label.value for label in changed.config.images[0].labels] == ["Disc"]
    assert variant.choice is None
    path.write_text(path.read_text().replace('"image"', '"photo"'))
    with pytest.raises(SettingsError, match='<Image name="photo">'):
        read_changes(f"label_config={path}").apply(subject, Settings.from_env({}))
    path.write_text("<View>")
    with pytest.raises(SettingsError, match=r"config\.xml: "):
        read_changes(f"label_config={path}")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="UTF-8"):
        read_changes(f"label_config={path}")


def test_a_model_that_is_named_replaces_that_of_the_settings(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(1))
    settings = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})
    _, variant = read_changes("segmenter=none").apply(subject, settings, "a car")
    assert variant.choice == ModelChoice("demo", "none")
    assert variant.prompt == "a car"
    _, variant = read_changes("prompt=dog").apply(subject, settings, "a car")
    assert variant.prompt == "dog"
