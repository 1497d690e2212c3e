"""Projects of one service have the models that their label configs choose, through the API."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from grounded_labeler.core.types import Thresholds
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_settings import choose_models
from grounded_labeler.label_studio.queries import typed_queries
from grounded_labeler.service import Service, start_service
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.model import DefaultThresholds
from grounded_labeler.weights.summary import summarize
from tests.conftest import SAMPLES, client_of
from tests.helpers.asking import (
    BRUSH,
    IMAGE,
    LABELS,
    PROMPT,
    RECTANGLES,
    STATUS,
    ask,
    body,
    predict,
    status_of,
    typed,
    view,
)
from tests.helpers.blind import DEMO_DETECTOR, make_blind
from tests.helpers.drawing import click
from tests.helpers.label_studio import TOKEN, LabelStudio, run_label_studio
from tests.helpers.serving import wait_until

WIDE = "/data/upload/1/wide.jpg"
POINTS = f'<KeyPointLabels name="points" toName="image" smart="true">{LABELS}</KeyPointLabels>'
CONFIG = view(PROMPT, STATUS, IMAGE, RECTANGLES, BRUSH, POINTS)


def choosing(config: str = CONFIG, **names: str) -> str:
    """A config whose prompt field chooses models."""
    attributes = " ".join(f'{name}="{value}"' for name, value in names.items())
    return config.replace('<TextArea name="prompt"', f'<TextArea {attributes} name="prompt"', 1)


@pytest.fixture(scope="module")
def studio() -> Iterator[LabelStudio]:
    with run_label_studio() as running:
        running.upload("wide.jpg", (SAMPLES / "wide.jpg").read_bytes())
        yield running


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_blind(tmp_path_factory.mktemp("own") / "blind"))


@pytest.fixture(scope="module")
def service(blind: str, studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Service:
    environ = {
        "DETECTOR": "demo", "SEGMENTER": "demo", "MODELS": f"demo+demo, {blind}+demo",
        "MODEL_DIR": str(tmp_path_factory.mktemp("models")), "CPU_THREADS": "1",
        "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": TOKEN, "PREANNOTATE": "labels",
    }  # fmt: skip
    return start_service(Settings.from_env(environ))


@pytest.fixture
def client(service: Service) -> FlaskClient:
    return client_of(service)


def types_of(results: list[dict[str, Any]]) -> set[str]:
    return {one["type"] for one in results if one["from_name"].startswith("label")}


def test_each_project_is_answered_by_its_own_models(
    client: FlaskClient, service: Service, blind: str
) -> None:
    assert types_of(ask(client, WIDE, "red circle", config=CONFIG)) == {"brushlabels"}
    nothing = ask(client, WIDE, "red circle", config=choosing(detector=blind))
    assert types_of(nothing) == set()
    boxes = ask(client, WIDE, "red circle", config=choosing(segmenter="none"))
    assert types_of(boxes) == {"rectanglelabels"}
    # What both have found is kept apart.
    assert types_of(ask(client, WIDE, "red circle", config=CONFIG)) == {"brushlabels"}
    health = client.get("/health").get_json()
    assert health["model"] == "demo+demo"
    assert sorted(health["others_loaded"]) == ["blind+demo", "demo"]
    default, own = service.backend, service.backend.of(ModelChoice(blind, "demo"))
    assert own.pipeline.segmenter is default.pipeline.segmenter  # type: ignore[attr-defined]


def test_tasks_that_nobody_typed_for_are_answered_by_them_too(
    client: FlaskClient, blind: str
) -> None:
    [seen] = predict(client, body([WIDE], config=CONFIG))
    [unseen] = predict(client, body([WIDE], config=choosing(detector=blind)))
    assert types_of(seen["result"]) == {"brushlabels"}
    assert types_of(unseen["result"]) == set()
    assert seen["model_version"].startswith("demo+demo-")
    assert unseen["model_version"].startswith("blind+demo-")


def test_clicks_are_for_the_projects_segmenter(client: FlaskClient, blind: str) -> None:
    context = {"result": [click(18, 58)]}
    [mask] = predict(client, body([WIDE], context, choosing(detector=blind)))
    assert types_of(mask["result"]) == {"brushlabels"}
    [refused] = predict(client, body([WIDE], context, choosing(segmenter="none")))
    assert types_of(refused["result"]) == set()
    assert 'chooses one, as segmenter="demo"' in status_of(refused["result"])


def test_the_interactive_layer_is_told_of_the_projects_models(
    client: FlaskClient, blind: str
) -> None:
    def capabilities(config: str) -> list[dict[str, Any]]:
        request = body([WIDE], {"event": "capabilities"}, config)
        answer: dict[str, Any] = client.post("/predict", json=request).get_json()
        results: list[dict[str, Any]] = answer["results"][0]["result"]
        return results

    [own] = capabilities(choosing(detector=blind))
    assert own["value"]["model_info"]["name"] == "blind+demo"
    assert capabilities(choosing(segmenter="none")) == []


def version(client: FlaskClient, config: str) -> str:
    answer = client.post("/setup", json={"project": "1.1", "schema": config})
    assert answer.status_code == 200, answer.text
    return str(answer.get_json()["model_version"])


def test_another_choice_is_another_version(client: FlaskClient, blind: str) -> None:
    configs = [CONFIG, choosing(detector=blind), choosing(segmenter="none")]
    assert len({version(client, config) for config in configs}) == len(configs)
    same = choosing(detector="demo", segmenter="demo")
    assert version(client, same) == version(client, CONFIG)


def test_a_file_replaced_while_the_model_is_loaded_changes_no_version_yet(
    studio: LabelStudio, blind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(DEMO_DETECTOR, folder)
    environ = {
        "DETECTOR": str(folder), "SEGMENTER": "none", "MODEL_DIR": str(tmp_path),
        "CPU_THREADS": "1", "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": TOKEN,
        "PREANNOTATE": "labels",
    }  # fmt: skip
    client = client_of(start_service(Settings.from_env(environ)))
    [before] = predict(client, body([WIDE], config=CONFIG))
    shutil.copy(Path(blind) / "model.safetensors", folder / "new")
    (folder / "new").replace(folder / "model.safetensors")
    [after] = predict(client, body([WIDE], config=CONFIG))
    assert types_of(after["result"]) == types_of(before["result"]) == {"rectanglelabels"}
    assert after["model_version"] == before["model_version"] == version(client, CONFIG)
    again = client_of(start_service(Settings.from_env(environ)))
    [new] = predict(again, body([WIDE], config=CONFIG))
    assert types_of(new["result"]) == set()
    assert new["model_version"] != before["model_version"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"detector": "yolo"}, r'name="prompt"> has detector="yolo", which .*: it must be demo or'),
        ({"segmenter": "sam9"}, r'has segmenter="sam9", which .* offer: it must be demo or none\.'),
        ({"detector": "llmdet-tiny"}, "does not offer"),
    ],
)  # fmt: skip
def test_models_that_are_not_offered_are_refused_in_one_sentence(
    service: Service, client: FlaskClient, names: dict[str, str], said: str
) -> None:
    config = choosing(**names)
    with pytest.raises(BadRequest, match=said):
        choose_models(read_label_config(config).models, service.settings.offered)
    answer = client.post("/setup", json={"project": "1.1", "schema": config})
    assert answer.status_code == 400
    assert "does not offer" in answer.get_json()["error"]
    answer = client.post("/predict", json=body([WIDE], typed("red circle"), config))
    assert answer.status_code == 400


def two_images(first: str, second: str) -> str:
    field = '<TextArea name="{0}" toName="{0}" model_prompt="true" {1}/>'
    image = '<Image name="{0}" value="${0}"/>'
    boxes = '<RectangleLabels name="of_{0}" toName="{0}"><Label value="Cat"/></RectangleLabels>'
    tags = [
        tag.format(name, choice)
        for name, choice in (("a", first), ("b", second))
        for tag in (field, image, boxes)
    ]
    return view(*tags)


def test_a_project_has_one_pair_of_models() -> None:
    with pytest.raises(BadRequest, match='prompt fields "a" and "b" choose different models'):
        read_label_config(two_images('detector="demo"', 'detector="other"'))
    with pytest.raises(BadRequest, match="choose different models"):
        read_label_config(two_images('detector="demo"', 'detector="demo" segmenter="none"'))
    for second in ("", 'detector="demo"'):
        models = read_label_config(two_images('detector="demo"', second)).models
        assert (models.detector, models.segmenter) == ("demo", None)
    assert read_label_config(two_images("", "")).models.detector is None


def test_a_field_that_is_for_no_prompts_chooses_nothing() -> None:
    note = '<TextArea name="note" toName="image" detector="yolo"/>'
    assert read_label_config(view(note, PROMPT, IMAGE, RECTANGLES)).models.detector is None


def test_images_are_encoded_ahead_by_the_projects_models(
    service: Service, blind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    other = service.backend.of(ModelChoice(blind, "demo"))
    monkeypatch.setattr(other, "encode", lambda image, cancelled: encoded.append(image.key))
    client, event = client_of(service), {"event": "prewarm"}
    predict(client, body([WIDE], event, choosing(segmenter="none")))
    predict(client, body([WIDE], event, choosing(detector=blind)))
    wait_until(lambda: len(encoded) == 1)


# Thresholds


def test_a_project_has_the_thresholds_of_its_detector() -> None:
    settings = Settings.from_env({})
    models = replace(
        summarize(settings.choice, Path()), thresholds=DefaultThresholds(0.4, 0.3, "a paper")
    )
    [query] = typed_queries(typed("cat"), read_label_config(CONFIG), settings, models)
    assert query.thresholds == Thresholds(0.4, 0.3, 0.7, 300)
    assert query.with_near_misses
    set_here = Settings.from_env({"BOX_THRESHOLD": "0.2"})
    [query] = typed_queries(typed("cat"), read_label_config(CONFIG), set_here, models)
    assert query.thresholds == Thresholds(0.2, 0.3, 0.7, 300)
