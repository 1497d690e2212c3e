"""The model version changes with each thing that shapes an answer, and with nothing else."""

import json
from collections.abc import Callable
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from grounded_labeler.core.prompt import Phrase, Prompt
from grounded_labeler.core.tiling import Tiling
from grounded_labeler.core.types import Label, Thresholds
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.label_studio.queries import Query, default_queries
from grounded_labeler.label_studio.schema import Control, Form, ImageTarget, TaskLabels
from grounded_labeler.label_studio.versions import version_document, version_of
from grounded_labeler.settings import Settings
from grounded_labeler.weights import catalog
from grounded_labeler.weights.checksums import sums_of
from grounded_labeler.weights.model import DefaultThresholds
from tests.helpers.asking import IMAGE, PROMPT, RECTANGLES, view
from tests.helpers.models import models_of

LABEL = Label("Cat", ("tabby",), "a cat")
SOURCE = TaskLabels("brand", Label("$brand"))
CONTROL = Control("boxes", "image", "box", "rectanglelabels", "boxes", (LABEL,), (SOURCE,))
TARGET = ImageTarget(
    "image",
    ImageValue("$picture"),
    (CONTROL,),
    (LABEL,),
    prompt_name="prompt",
    status_name="status",
)
PHRASE = Phrase("a cat", "Cat", negative=False)
QUESTION = Query(TARGET, Prompt((PHRASE,)), Thresholds(0.3, 0.25, 0.7, 300), "cat -> Cat")
SETTINGS = Settings.from_env({"SEGMENTER": "mobile-sam", "DETECT_SIZE": "600"})


def version(query: Query = QUESTION, settings: Settings = SETTINGS) -> str:
    return version_of(settings, models_of(settings), [query])


def of_target(target: ImageTarget) -> Query:
    return replace(QUESTION, target=target)


def of_control(control: Control) -> Query:
    return of_target(replace(TARGET, controls=(control,)))


def of_form(form: Form) -> Query:
    return of_control(replace(CONTROL, form=form))


def of_source(source: TaskLabels) -> Query:
    return of_control(replace(CONTROL, task_labels=(source,)))


def of_label(label: Label) -> Query:
    return of_target(replace(TARGET, labels=(label,)))


def of_label_of_a_control(label: Label) -> Query:
    return of_control(replace(CONTROL, labels=(label,)))


def of_phrase(phrase: Phrase) -> Query:
    return replace(QUESTION, prompt=Prompt((phrase,)))


def of_thresholds(limits: Thresholds) -> Query:
    return replace(QUESTION, thresholds=limits)


OTHER_LABEL: dict[str, object] = {
    "value": "Dog", "predicted_values": (), "prompt": None, "score_threshold": 0.4,
}  # fmt: skip
# Another value for each field of everything a question is made of.
CHANGES: list[tuple[Any, Callable[[Any], Query], dict[str, object]]] = [
    (LABEL, of_label, OTHER_LABEL),
    (LABEL, of_label_of_a_control, OTHER_LABEL),
    (
        CONTROL,
        of_control,
        {
            "name": "b",
            "to_name": "i",
            "geometry": "brush",
            "result_type": "brush",
            "labels_name": "l",
            "labels": (),
            "task_labels": (),
            "form": Form(is_rotated=True),
        },
    ),
    (Form(), of_form, {"is_rotated": True, "tolerance": 2.0, "max_points": 40}),
    (SOURCE, of_source, {"key": "x", "tag": None}),
    (
        TARGET,
        of_target,
        {
            "name": "i",
            "value": ImageValue("$url"),
            "controls": (),
            "labels": (),
            "prompt_name": None,
            "status_name": None,
        },
    ),
    (PHRASE, of_phrase, {"text": "cat", "label": None, "negative": True, "threshold": 0.2}),
    (
        QUESTION.thresholds,
        of_thresholds,
        {"box": 0.31, "text": 0.26, "nms": 0.71, "max_regions": 299},
    ),
    (
        QUESTION,
        lambda query: query,
        {"target": of_target(replace(TARGET, name="i")).target, "prompt": Prompt(()),
         "thresholds": Thresholds(0, 0, 0, 1), "text": None, "candidates_from": 0.05,
         "tiling": Tiling(800)},
    ),
]  # fmt: skip
# What an annotator or a config sets is in the thresholds that are asked with; what a task
# brings is no part of a project's version.
# Of a question: what is in the thresholds or the prompt, and what typed prompts alone have. Of an
# image: what decides which question is asked, and the thresholds, and what only drawing needs.
NOT_ITS_OWN = {
    "is_of_task", "is_remembered", "with_near_misses", "remark", "overrides_labels",
    "overrides", "displayed", "notes", "preannotate", "has_smart_tools", "tiles",
    "inside", "search_name",
    "rule",
    "with_embedding",
}  # fmt: skip


@pytest.mark.parametrize(
    ("whole", "asked", "name", "value"),
    [
        pytest.param(whole, asked, name, value, id=f"{type(whole).__name__}.{name}")
        for whole, asked, others in CHANGES
        for name, value in others.items()
    ],
)
def test_each_field_of_a_question_is_in_the_version(
    whole: Any, asked: Callable[[Any], Query], name: str, value: object
) -> None:
    assert version(asked(replace(whole, **{name: value}))) != version()


def test_thresholds_of_labels_count_where_they_hold() -> None:
    own = replace(TARGET, labels=(replace(LABEL, score_threshold=0.4),))
    final = replace(QUESTION.thresholds, overrides_labels=True)
    assert version(of_thresholds(final)) == version()
    assert version(replace(of_target(own), thresholds=final)) != version(of_target(own))


def test_no_field_is_left_out() -> None:
    for whole, _, others in CHANGES:
        assert {field.name for field in fields(whole)} - NOT_ITS_OWN == others.keys()


@pytest.mark.parametrize(
    "environ",
    [
        {"DETECTOR": "grounding-dino-tiny"},
        {"SEGMENTER": "none"},
        {"SEGMENTER": "sam-vit-b"},
        {"DETECT_SIZE": ""},
        {"DETECT_SIZE": "601"},
        {"PRECISION": "bf16"},
        {"OUTPUT": "both"},
        {"PROVENANCE": "true"},
        {"STRETCH": "true"},
    ],
)
def test_each_setting_that_shapes_answers_is_in_the_version(environ: dict[str, str]) -> None:
    before = {"SEGMENTER": "mobile-sam", "DETECT_SIZE": "600"}
    assert version(settings=Settings.from_env(before | environ)) != version()


@pytest.mark.parametrize(
    "environ",
    [
        {"MODEL_DIR": "/elsewhere"},
        {"THREADS": "3"},
        {"CPU_THREADS": "1"},
        {"LABEL_STUDIO_URL": "http://ls"},
        {"PREANNOTATE": "labels"},  # only what it comes to
        {"BOX_THRESHOLD": "0.9"},  # only through what is asked with it
    ],
)
def test_nothing_else_is(environ: dict[str, str]) -> None:
    before = {"SEGMENTER": "mobile-sam", "DETECT_SIZE": "600"}
    assert version(settings=Settings.from_env(before | environ)) == version()


@pytest.mark.parametrize("part", [0, 1])
def test_other_weights_are_another_version(monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    """A file of the detector, and one that it shares."""
    before = version()
    chosen = catalog.DETECTORS[SETTINGS.detector]
    retrained = [
        replace(model, files=(replace(model.files[0], sha256="0" * 64),)) if number == part
        else model
        for number, model in enumerate(chosen.parts)
    ]  # fmt: skip
    changed = replace(retrained[0], shared=tuple(retrained[1:]))
    monkeypatch.setattr(catalog, "DETECTORS", MappingProxyType({chosen.name: changed}))
    assert version() != before


def test_the_demo_models_are_named_by_what_is_in_their_files() -> None:
    demo = catalog.DETECTORS["demo"]
    sums = sums_of(demo, Path())
    assert "model.safetensors" in sums
    assert all(len(value) == 64 for value in sums.values())
    assert sums != sums_of(catalog.SEGMENTERS["demo"], Path())


def test_order_counts() -> None:
    twice = [QUESTION, of_target(replace(TARGET, name="second"))]
    models = models_of(SETTINGS)
    both = version_of(SETTINGS, models, twice)
    assert both != version_of(SETTINGS, models, twice[::-1])
    assert both != version_of(SETTINGS, models, twice[:1])


def test_another_default_of_the_detector_is_another_version() -> None:
    """What is asked has its thresholds, so nothing else need say them."""
    config = read_label_config(view(PROMPT, IMAGE, RECTANGLES))
    models = models_of(SETTINGS)
    stricter = replace(models, thresholds=DefaultThresholds(0.35, 0.25, "a paper"))
    versions = [
        version_of(SETTINGS, one, default_queries(config, SETTINGS, one, lambda _: None))
        for one in (models, stricter)
    ]
    assert versions[0] != versions[1]


def renamed(whole: Any) -> Any:
    """The same values in a class of another name, fields in another order."""
    names = [(field.name, Any) for field in reversed(fields(whole))]
    return make_dataclass(f"Renamed{type(whole).__name__}", names)(
        **{field.name: getattr(whole, field.name) for field in fields(whole)}
    )


def test_what_classes_are_called_is_no_part_of_it() -> None:
    label = renamed(LABEL)
    control = renamed(replace(CONTROL, labels=(label,)))
    target = renamed(replace(TARGET, controls=(control,), labels=(label,)))
    prompt = renamed(Prompt((renamed(PHRASE),)))
    query = renamed(replace(QUESTION, target=target, prompt=prompt))
    assert type(query).__name__ == "RenamedQuery"
    assert version(query) == version()


def test_the_document_and_its_digest_stay_as_they_are() -> None:
    """A change here asks every project of every user again: raise FORMAT and say so."""
    document = version_document(SETTINGS, models_of(SETTINGS), [QUESTION])
    label = {"value": "Cat", "predicted_values": ["tabby"], "prompt": "a cat"}
    assert json.loads(json.dumps(document)) == {
        "format": 1,
        "models": [
            {
                "name": "groundingdino-swint-ogc",
                "engine": "groundingdino",
                "sha256": {
                    "groundingdino-swint-ogc/groundingdino_swint_ogc.pth":
                        "3b3ca2563c77c69f651d7bd133e97139c186df06231157a64c507099c52bc799",
                    "bert-base-uncased/vocab.txt":
                        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                },
            },
            {
                "name": "mobile-sam",
                "engine": "mobile-sam",
                "sha256": {
                    "mobile-sam/mobile_sam.pt":
                        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
                },
            },
        ],
        "detect_size": 600,
        "precision": "auto",
        "output": "auto",
        "questions": [
            {
                "image": {
                    "name": "image",
                    "data_key": "picture",
                    "controls": [
                        {
                            "name": "boxes",
                            "image": "image",
                            "geometry": "box",
                            "type": "rectanglelabels",
                            "labels_name": "boxes",
                            "labels": [label],
                            "task_labels": [
                                {
                                    "key": "brand",
                                    "tag": {
                                        "value": "$brand",
                                        "predicted_values": [],
                                        "prompt": None,
                                    },
                                }
                            ],
                        }
                    ],
                    "labels": [label],
                    "prompt_field": "prompt",
                    "status_field": "status",
                },
                "prompt": "cat -> Cat",
                "phrases": [{"text": "a cat", "label": "Cat", "negative": False}],
                "thresholds": {"box": 0.3, "text": 0.25, "nms": 0.7, "max_regions": 300},
            }
        ],
    }  # fmt: skip
    assert version() == "groundingdino-swint-ogc+mobile-sam-02f91ad1"
