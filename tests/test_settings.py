"""Settings: defaults, names, the tutorials' switches, clear errors, and the README's table."""

import re
from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.settings import Settings, variable_names

README = Path(__file__).parents[1] / "README.md"


def test_defaults_need_no_environment() -> None:
    settings = Settings.from_env({})
    assert settings.detector == "groundingdino-swint-ogc"
    assert settings.segmenter == "none"
    assert (settings.box_threshold, settings.text_threshold) == (0.30, 0.25)
    assert (settings.port, settings.workers) == (9090, 1)


@pytest.mark.parametrize(
    ("environ", "field", "expected"),
    [
        ({"BOX_THRESHOLD": "0.4"}, "box_threshold", 0.4),
        ({"BOX_THRESHOLD": "  "}, "box_threshold", 0.30),  # compose passes unset variables empty
        ({"LABEL_STUDIO_HOST": "http://ls"}, "label_studio_url", "http://ls"),
        (
            {"LABEL_STUDIO_HOST": "http://old", "LABEL_STUDIO_URL": "http://new"},
            "label_studio_url",
            "http://new",
        ),
        ({"LOG_LEVEL": "debug"}, "log_level", "DEBUG"),
        ({"ALLOWED_HOSTS": "nas.lan, 10.2.0.0/16,"}, "allowed_hosts", ("nas.lan", "10.2.0.0/16")),
        ({"USE_SAM": "true"}, "segmenter", "sam-vit-h"),
        ({"USE_SAM": "t"}, "segmenter", "sam-vit-h"),
        ({"WORKERS": "2", "LABEL_STUDIO_URL": "http://ls"}, "workers", 2),
        ({"USE_MOBILE_SAM": "True"}, "segmenter", "mobile-sam"),
        ({"USE_SAM": "true", "USE_MOBILE_SAM": "true"}, "segmenter", "mobile-sam"),
        ({"USE_SAM": "false", "SEGMENTER": "sam-vit-b"}, "segmenter", "sam-vit-b"),
        ({"USE_MOBILE_SAM": "true", "SEGMENTER": "mobile-sam"}, "segmenter", "mobile-sam"),
        ({"DEFAULT_SEGMENTER": "mobile-sam"}, "segmenter", "mobile-sam"),
        ({"DEFAULT_SEGMENTER": "mobile-sam", "SEGMENTER": "none"}, "segmenter", "none"),
        ({"DEFAULT_SEGMENTER": "mobile-sam", "SEGMENTER": " "}, "segmenter", "mobile-sam"),
        ({"DEFAULT_SEGMENTER": "mobile-sam", "USE_SAM": "true"}, "segmenter", "sam-vit-h"),
        ({"DEFAULT_SEGMENTER": "mobile-sam", "USE_MOBILE_SAM": "false"}, "segmenter", "none"),
        ({"PATH": "/bin", "HOME": "/root"}, "output", "auto"),  # others' variables are ignored
    ],
)
def test_variables(environ: dict[str, str], field: str, expected: object) -> None:
    assert getattr(Settings.from_env(environ), field) == expected


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"BOX_THRESHOLD": "7"}, ["BOX_THRESHOLD=7", "less than or equal to 1"]),
        ({"DETECTOR": "yolo"}, ["DETECTOR=yolo", "groundingdino-swint-ogc", "demo"]),
        ({"SEGMENTER": "sam3"}, ["SEGMENTER=sam3", "mobile-sam", "none"]),
        ({"OUTPUT": "polygons"}, ["OUTPUT=polygons", "'both'"]),
        ({"PORT": "http"}, ["PORT=http", "integer"]),
        ({"WORKERS": "0", "THREADS": "0"}, ["WORKERS=0", "THREADS=0"]),  # both in one message
        ({"LABEL_STUDIO_API_KEY": "sekrit"}, ["LABEL_STUDIO_URL", "the token is for"]),
        ({"BASIC_AUTH_USER": "anna"}, ["BASIC_AUTH_USER and BASIC_AUTH_PASS", "both"]),
        ({"BASIC_AUTH_PASS": "sekrit"}, ["BASIC_AUTH_USER and BASIC_AUTH_PASS", "both"]),
        ({"ALLOWED_HOSTS": "nas, http://nas"}, ["ALLOWED_HOSTS", "'http://nas'"]),
        ({"PROMPT_STORE": "mysql://anna:sekrit@host/db"}, ["PROMPT_STORE must be sqlite:///path"]),
        ({"RAY_ADDRESS": "auto"}, ["RAY_ADDRESS=auto must be host:6379", "ray://host:10001"]),
        ({"RAY_ADDRESS": "http://ray:6379"}, ["RAY_ADDRESS=http://ray:6379 must be host:6379"]),
        ({"LABEL_STUDIO_URL": "localhost:8080"}, ["LABEL_STUDIO_URL=localhost", "http://"]),
        ({"MAX_IMAGE_PIXELS": "200000000"}, ["MAX_IMAGE_PIXELS=200000000", "178956970"]),
        ({"WORKERS": "2"}, ["WORKERS=2", "LABEL_STUDIO_URL"]),
        (
            {"USE_SAM": "true", "SEGMENTER": "mobile-sam"},
            ["USE_SAM=true", "SEGMENTER=mobile-sam", "unset one"],
        ),
    ],
)
def test_errors_name_variable_and_value(environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env(environ)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("name", variable_names()["label_studio_api_key"])
def test_the_token_is_never_shown(name: str) -> None:
    settings = Settings.from_env({name: "sekrit", "LABEL_STUDIO_URL": "http://ls"})
    assert settings.label_studio_api_key is not None
    assert settings.label_studio_api_key.get_secret_value() == "sekrit"
    assert "sekrit" not in repr(settings)


def test_the_address_of_the_store_is_never_shown() -> None:
    address = "postgresql://anna:sekrit@host/db"
    settings = Settings.from_env({"PROMPT_STORE": address})
    assert settings.prompt_store is not None
    assert settings.prompt_store.get_secret_value() == address
    assert "sekrit" not in repr(settings)
    with pytest.raises(SettingsError) as error:
        Settings.from_env({"PROMPT_STORE": f"my{address}", "PORT": "x"})
    assert "sekrit" not in str(error.value)
    assert "anna" not in str(error.value)


def test_the_readme_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \| (.*?) \| (.+) \|$", README.read_text(), re.M)
    listed = {names: (default.strip("`"), meaning) for names, default, meaning in rows}
    expected = {}
    for field, names in variable_names().items():
        info = Settings.model_fields[field]
        default = "" if info.default in (None, ()) else str(info.default)
        default = default.lower() if isinstance(info.default, bool) else default
        expected[", ".join(f"`{name}`" for name in names)] = (default, info.description)
    assert listed == expected
