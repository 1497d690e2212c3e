"""The whole way from a request to labelled regions, on the trained demo models.

Every test here looks at what was found and where, against the truth the sample
images were drawn from.
"""

import io
import runpy
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.label_studio import backend
from grounded_labeler.label_studio.rendering import box_of, label_of, mask_of
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.service import Service
from tests.conftest import MakeClient, client_of
from tests.helpers.asking import (
    BRUSH,
    CREATED,
    HAND_DRAWN,
    IMAGE,
    LABELS,
    POLYGONS,
    PROMPT,
    RECTANGLES,
    STATUS,
    TUTORIAL,
    ask,
    body,
    number,
    of_type,
    predict,
    status_of,
    typed,
    view,
)
from tests.helpers.label_studio import LabelStudio
from tests.helpers.truth import Truth, true_masks

NO_MASKS = {"SEGMENTER": "none"}


def upload(name: str) -> str:
    return f"/data/upload/1/{name}"


def true_boxes(truth: Truth, image: str, name: str) -> NDArray[np.float32]:
    boxes = [shape["box"] for shape in truth[image]["shapes"] if shape["name"] == name]
    return np.array(boxes, np.float32).reshape(-1, 4)


def overlap(result: dict[str, Any], truth: Truth, image: str, name: str) -> float:
    """IoU of a box result with the best true box of that name."""
    return float(box_iou(box_of(result)[None], true_boxes(truth, image, name)).max(initial=0))


# Prompts


def test_a_typed_prompt_gives_the_labelled_box_of_that_object_only(
    make_client: MakeClient, truth: Truth
) -> None:
    results = ask(make_client(**NO_MASKS), upload("wide.jpg"), "red circle")
    [box] = of_type(results, "rectanglelabels")
    assert box["value"]["rectanglelabels"] == ["Circle"]
    assert overlap(box, truth, "wide.jpg", "red circle") >= 0.8
    assert 0.3 <= box["score"] <= 1
    assert (box["original_width"], box["original_height"]) == (640, 480)


def test_several_phrases_each_find_their_own(make_client: MakeClient, truth: Truth) -> None:
    results = ask(make_client(**NO_MASKS), upload("wide.jpg"), "blue star . ring\nred circle")
    found = {label_of(box): box for box in of_type(results, "rectanglelabels")}
    assert set(found) == {"Star", "Ring", "Circle"}
    assert overlap(found["Star"], truth, "wide.jpg", "blue star") >= 0.8
    assert overlap(found["Ring"], truth, "wide.jpg", "blue ring") >= 0.8
    assert overlap(found["Circle"], truth, "wide.jpg", "red circle") >= 0.8


def test_an_arrow_gives_the_label(make_client: MakeClient, truth: Truth) -> None:
    results = ask(make_client(**NO_MASKS), upload("wide.jpg"), "red circle -> Star")
    [box] = of_type(results, "rectanglelabels")
    assert box["value"]["rectanglelabels"] == ["Star"]
    assert overlap(box, truth, "wide.jpg", "red circle") >= 0.8


def test_a_phrase_that_is_no_label_comes_without_one(make_client: MakeClient) -> None:
    config = view(
        PROMPT,
        STATUS,
        IMAGE,
        '<RectangleLabels name="label" toName="image"><Label value="Cat"/></RectangleLabels>',
    )
    results = ask(make_client(**NO_MASKS), upload("wide.jpg"), "red circle", config=config)
    [box] = of_type(results, "rectanglelabels")
    assert box["value"]["rectanglelabels"] == []
    assert box["meta"] == {"text": ["red circle"]}
    assert 'No label fits "red circle"' in status_of(results)


def test_a_minus_sign_leaves_out_what_it_finds(make_client: MakeClient, truth: Truth) -> None:
    client = make_client(**NO_MASKS)
    with_ring = ask(client, upload("large.jpg"), "blue")
    without = ask(client, upload("large.jpg"), "blue . -blue ring")
    ring = "blue ring"
    assert any(
        overlap(box, truth, "large.jpg", ring) >= 0.8
        for box in of_type(with_ring, "rectanglelabels")
    )
    boxes = of_type(without, "rectanglelabels")
    assert boxes
    assert all(overlap(box, truth, "large.jpg", ring) < 0.5 for box in boxes)


def test_an_object_has_one_label_however_many_captions_the_labels_fill(
    make_client: MakeClient,
) -> None:
    client = make_client(**NO_MASKS, PREANNOTATE="labels")
    words = ["red", *(f"zebra{a}{b}" for a in "abcdefgh" for b in "abcdefgh"), "circle"]
    labels = "".join(f'<Label value="{word}"/>' for word in words)
    config = view(IMAGE, f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels>')
    [prediction] = predict(client, body([upload("wide.jpg")], config=config))
    boxes = np.array([box_of(box) for box in prediction["result"]])
    assert len(boxes)
    assert (box_iou(boxes, boxes) > 0.7).sum() == len(boxes)


# Answers


def test_masks_are_the_tutorials_default_and_lie_on_the_object(
    client: FlaskClient, truth: Truth
) -> None:
    results = ask(client, upload("wide.jpg"), "red circle . blue ring")
    assert not of_type(results, "rectanglelabels")
    masks = {label_of(result): mask_of(result) for result in of_type(results, "brushlabels")}
    drawn = true_masks(truth, "wide.jpg")
    assert mask_iou(masks["Circle"], drawn["red circle"]) >= 0.9
    assert mask_iou(masks["Ring"], drawn["blue ring"]) >= 0.8  # its hole is left out


def test_both_gives_box_and_mask_of_each_object(make_client: MakeClient) -> None:
    results = ask(make_client(OUTPUT="both"), upload("wide.jpg"), "red circle . blue star")
    boxes, masks = of_type(results, "rectanglelabels"), of_type(results, "brushlabels")
    assert sorted(map(label_of, boxes)) == sorted(map(label_of, masks)) == ["Circle", "Star"]
    for mask in masks:
        [box] = [box for box in boxes if label_of(box) == label_of(mask)]
        ys, xs = np.nonzero(mask_of(mask))
        around = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        assert box_iou(box_of(box)[None], around)[0, 0] >= 0.8


def test_polygons_where_there_is_no_brush(client: FlaskClient, truth: Truth) -> None:
    config = view(PROMPT, IMAGE, POLYGONS)
    [polygon] = ask(client, upload("wide.jpg"), "red circle", config=config)
    assert polygon["type"] == "polygonlabels"
    points = np.array(polygon["value"]["points"]) * [6.4, 4.8]
    around = np.array([[*points.min(axis=0), *points.max(axis=0)]], np.float32)
    assert box_iou(around, true_boxes(truth, "wide.jpg", "red circle"))[0, 0] >= 0.8


def test_bare_rectangle_with_labels_is_one_region_in_two_results(client: FlaskClient) -> None:
    config = view(
        PROMPT,
        IMAGE,
        '<Rectangle name="rect" toName="image"/>',
        f'<Labels name="tags" toName="image">{LABELS}</Labels>',
    )
    shape, label = ask(client, upload("wide.jpg"), "red circle", config=config)
    assert shape["id"] == label["id"]
    assert (shape["type"], label["type"]) == ("rectangle", "labels")
    assert label["value"]["labels"] == ["Circle"]


@pytest.mark.parametrize("output", ["auto", "boxes", "masks", "both"])
@pytest.mark.parametrize(
    "tags", [(RECTANGLES,), (BRUSH,), (POLYGONS,), (RECTANGLES, BRUSH, POLYGONS)]
)
def test_every_config_and_output_makes_valid_predictions(
    make_client: MakeClient, tags: tuple[str, ...], output: str
) -> None:
    config = view(PROMPT, STATUS, IMAGE, *tags)
    client = make_client(OUTPUT=output)
    [prediction] = predict(
        client, body([upload("tall.jpg")], typed("blue ring . red square"), config)
    )
    regions = [r for r in prediction["result"] if r["from_name"] != "status"]
    assert len(regions) >= 2


def test_rotated_photo_regions_sit_on_the_object_as_displayed(
    make_client: MakeClient, truth: Truth
) -> None:
    results = ask(make_client(OUTPUT="both"), upload("rotated.jpg"), "red circle")
    [box], [brush] = of_type(results, "rectanglelabels"), of_type(results, "brushlabels")
    assert (box["original_width"], box["original_height"], box["image_rotation"]) == (480, 640, 0)
    assert overlap(box, truth, "rotated.jpg", "red circle") >= 0.8
    assert mask_iou(mask_of(brush), true_masks(truth, "rotated.jpg")["red circle"]) >= 0.9


def test_two_image_tags_each_with_its_own_prompt(make_client: MakeClient, truth: Truth) -> None:
    config = view(
        '<Image name="left" value="$a"/><Image name="right" value="$b"/>',
        '<TextArea name="ask left" toName="left" model_prompt="true"/>',
        '<TextArea name="ask right" toName="right" model_prompt="true"/>',
        f'<RectangleLabels name="l" toName="left">{LABELS}</RectangleLabels>',
        f'<RectangleLabels name="r" toName="right">{LABELS}</RectangleLabels>',
    )
    request = body([], None, config)
    request["tasks"] = [{"id": 1, "data": {"a": upload("wide.jpg"), "b": upload("tall.jpg")}}]
    entry = typed("blue ring", to_name="right")["result"][0] | {"from_name": "ask right"}
    request["params"]["context"] = {"result": [entry]}
    [prediction] = predict(make_client(**NO_MASKS), request)
    [box] = prediction["result"]
    assert (box["from_name"], box["to_name"]) == ("r", "right")
    assert overlap(box, truth, "tall.jpg", "blue ring") >= 0.8


# Thresholds


def counts(client: FlaskClient, config: str, *others: dict[str, Any]) -> int:
    results = ask(client, upload("wide.jpg"), "shape", *others, config=config)
    return len(of_type(results, "rectanglelabels"))


def test_thresholds_annotator_over_attribute_over_setting_over_number_s_default(
    make_client: MakeClient,
) -> None:
    client = make_client(**NO_MASKS)
    plain = view(PROMPT, IMAGE, RECTANGLES)
    strict = RECTANGLES.replace(" toName", ' model_score_threshold="1.0" toName')
    lenient_number = '<Number name="box_threshold" toName="image" defaultValue="0.3"/>'
    all_of_them = counts(client, plain)
    assert all_of_them >= 2
    assert counts(make_client(**NO_MASKS, BOX_THRESHOLD="1.0"), plain) == 0
    assert counts(client, view(PROMPT, IMAGE, strict)) == 0
    assert counts(client, view(PROMPT, IMAGE, strict, lenient_number)) == 0
    with_number = view(PROMPT, IMAGE, RECTANGLES, lenient_number)
    strict_number = lenient_number.replace("0.3", "1.0")
    assert counts(client, view(PROMPT, IMAGE, RECTANGLES, strict_number)) == 0
    assert counts(make_client(**NO_MASKS, BOX_THRESHOLD="1.0"), with_number) == 0
    strict_client, chosen = make_client(**NO_MASKS, BOX_THRESHOLD="1"), number("box_threshold", 0.3)
    assert counts(strict_client, with_number, chosen) == all_of_them
    assert counts(client, with_number, number("box_threshold", 1.0)) == 0
    assert counts(client, with_number, number("text_threshold", 1.0)) == 0
    limited = RECTANGLES.replace(" toName", ' max_regions="1" toName')
    assert counts(client, view(PROMPT, IMAGE, limited)) == 1


def test_a_threshold_that_is_not_the_one_displayed_is_told(make_client: MakeClient) -> None:
    field = '<Number name="box_threshold" toName="image" defaultValue="0.3"/>'
    config = view(PROMPT, STATUS, IMAGE, RECTANGLES, field)
    client = make_client(**NO_MASKS, BOX_THRESHOLD="0.4")
    said = "Box threshold 0.4 (BOX_THRESHOLD) held, not the 0.3 shown."
    assert said in status_of(ask(client, upload("wide.jpg"), "circle", config=config))
    chosen = number("box_threshold", 0.35)
    others = ask(client, upload("wide.jpg"), "circle", chosen, config=config)
    assert "held" not in status_of(others)
    client = make_client(**NO_MASKS)
    assert "held" not in status_of(ask(client, upload("wide.jpg"), "circle", config=config))


def test_the_threshold_of_a_label_that_is_not_the_one_displayed_is_told(
    make_client: MakeClient,
) -> None:
    field = '<Number name="box_threshold" toName="image" defaultValue="0.3"/>'
    own = RECTANGLES.replace('value="Circle"', 'value="Circle" score_threshold="0.45"')
    config, client = view(PROMPT, STATUS, IMAGE, own, field), make_client(**NO_MASKS)

    def said(prompt: str, *others: dict[str, Any]) -> str:
        return status_of(ask(client, upload("wide.jpg"), prompt, *others, config=config))

    held = "Box threshold 0.45 for Circle (label config) held, not the 0.3 shown."
    assert held in said("circle . star")
    for prompt in ("star", "circle > 0.5", "-circle . star"):
        assert "held" not in said(prompt)
    assert "held" not in said("circle", number("box_threshold", 0.35))


def test_what_a_lower_threshold_would_bring_is_counted(make_client: MakeClient) -> None:
    client, config = make_client(**NO_MASKS), view(PROMPT, STATUS, IMAGE, RECTANGLES)

    def boxes(threshold: float) -> tuple[int, str]:
        chosen = number("box_threshold", threshold)
        results = ask(client, upload("wide.jpg"), "shape . red", chosen, config=config)
        return len(of_type(results, "rectanglelabels")), status_of(results)

    told = 0
    for threshold in (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4):
        count, said = boxes(threshold)
        lower = round(threshold - 0.1, 2)
        more = boxes(lower)[0] - count
        assert (f"{more} more between {lower:.2f} and {threshold:.2f}." in said) == (more > 0)
        assert ("more between" in said) == (more > 0)
        told += more
    assert told > 0


def test_a_bad_threshold_is_told_in_the_status_and_not_an_error(client: FlaskClient) -> None:
    config = view(PROMPT, STATUS, IMAGE, RECTANGLES)
    results = ask(client, upload("wide.jpg"), "circle", number("box_threshold", 30), config=config)
    assert status_of(results) == "box_threshold is 30, but it must be a number from 0 to 1."


def test_a_prompt_of_separators_only_is_told_and_not_remembered(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS)
    results = ask(client, upload("wide.jpg"), " . ; -")
    assert [result["from_name"] for result in results] == ["status"]
    assert status_of(results).startswith("The prompt is empty")
    event = {
        "annotation": {"result": [*typed(" . ")["result"], HAND_DRAWN]},
        "project": {"id": 1, "created_at": CREATED, "label_config": TUTORIAL},
    }
    assert client.post("/webhook", json=event).status_code == 200
    [prediction] = predict(client, body([upload("tall.jpg")]))
    assert names_found(prediction)  # the labels, as when nothing was ever typed


def test_an_image_that_cannot_be_drawn_on_leaves_the_others(make_client: MakeClient) -> None:
    config = view(
        PROMPT.replace('"image"', '"left"'),
        '<Image name="left" value="$image"/><Image name="right" value="$image"/>',
        RECTANGLES.replace('"image"', '"left"'),
        BRUSH.replace('"image"', '"right"'),
    )
    request = body([upload("wide.jpg")], typed("red circle", to_name="left"), config)
    [prediction] = predict(make_client(**NO_MASKS), request)
    assert [label_of(result) for result in prediction["result"]] == ["Circle"]


def test_an_image_without_a_status_field_is_told_of_in_another_s(
    make_client: MakeClient, label_studio: LabelStudio
) -> None:
    config = view(
        PROMPT.replace('"image"', '"left,right"'),
        STATUS.replace('"image"', '"left"'),
        '<Image name="left" value="$image"/><Image name="right" value="$other"/>',
        RECTANGLES.replace('"image"', '"left,right"'),
    )
    context = typed("red circle", to_name="left")
    context["result"] += typed("ring", to_name="right")["result"]
    request = body([upload("wide.jpg")], context, config)
    request["tasks"][0]["data"]["other"] = label_studio.upload("broken.jpg", b"GIF89a")
    [prediction] = predict(make_client(**NO_MASKS), request)
    sentence = status_of(prediction["result"])
    assert sentence.startswith("Found Circle: 1.")
    assert "right: The " in sentence


# Without a prompt


def names_found(prediction: dict[str, Any]) -> list[str]:
    return sorted(map(label_of, of_type(prediction["result"], "rectanglelabels")))


def test_a_labels_own_prompt_replaces_its_value(make_client: MakeClient, truth: Truth) -> None:
    label = '<Label value="Target" prompt="red square"/>'
    config = view(IMAGE, f'<RectangleLabels name="label" toName="image">{label}</RectangleLabels>')
    [prediction] = predict(make_client(**NO_MASKS), body([upload("tall.jpg")], None, config))
    [box] = prediction["result"]
    assert label_of(box) == "Target"
    assert overlap(box, truth, "tall.jpg", "red square") >= 0.8


def test_the_last_prompt_is_shared_by_workers_and_survives_a_restart(
    make_service: Callable[..., Service], make_client: MakeClient
) -> None:
    service = make_service(**NO_MASKS, PREANNOTATE="last_prompt")
    ask(client_of(service), upload("tall.jpg"), "red square")
    service.prompts.flush()
    another = make_client(**NO_MASKS, PREANNOTATE="last_prompt")
    [prediction] = predict(another, body([upload("tall.jpg")]))
    assert names_found(prediction) == ["Square"]


def test_a_try_is_answered_and_the_prompt_before_it_stays(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS, PREANNOTATE="last_prompt")
    ask(client, upload("tall.jpg"), "red square")
    request = body([upload("tall.jpg")], typed("star") | {"remember": False})
    assert names_found(predict(client, request)[0]) == ["Star"]
    assert names_found(predict(client, body([upload("tall.jpg")]))[0]) == ["Square"]


def test_a_saved_prompt_that_cannot_be_asked_is_no_error(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS)
    event = {
        "annotation": {"result": [*typed("red circle " * 200)["result"], HAND_DRAWN]},
        "project": {"id": 1, "created_at": CREATED, "label_config": TUTORIAL},
    }
    assert client.post("/webhook", json=event).status_code == 200
    predictions = predict(client, body([upload("tall.jpg")] * 2))
    assert ["tokens long" in prediction["error"] for prediction in predictions] == [True] * 2


@pytest.mark.parametrize("mode", ["off", "last_prompt"])
def test_nothing_asked_is_an_answer_that_is_asked_for_again(
    make_client: MakeClient, mode: str
) -> None:
    predictions = predict(make_client(PREANNOTATE=mode), body([upload("tall.jpg")] * 2))
    assert all("result" not in prediction for prediction in predictions)


# Many tasks


def test_tasks_of_mixed_sizes_keep_their_order_and_a_broken_one_stays_alone(
    make_client: MakeClient, label_studio: LabelStudio, truth: Truth
) -> None:
    label_studio.upload("broken.jpg", b"<html>please log in</html>")
    names = ["wide.jpg", "tall.jpg", "broken.jpg", "rotated.jpg", "large.jpg"] * 2
    request = body([upload(name) for name in names])
    predictions = predict(make_client(**NO_MASKS), request)
    for name, prediction in zip(names, predictions, strict=True):
        if name == "broken.jpg":
            assert "result" not in prediction
            assert "web page" in prediction["error"]
        else:
            expected = sorted(s["name"].split()[1].title() for s in truth[name]["shapes"])
            assert names_found(prediction) == expected, name


def test_two_threads_never_mix_images(make_client: MakeClient, truth: Truth) -> None:
    client_of = make_client(OUTPUT="both").application.test_client

    def work(job: tuple[str, str]) -> list[float]:
        name, prompt = job
        answers = [ask(client_of(), upload(name), prompt) for _ in range(6)]
        brushes = [brush for results in answers for brush in of_type(results, "brushlabels")]
        return [mask_iou(mask_of(brush), true_masks(truth, name)[prompt]) for brush in brushes]

    with ThreadPoolExecutor(2) as pool:
        ious = list(pool.map(work, [("wide.jpg", "red circle"), ("tall.jpg", "red square")]))
    assert [len(some) for some in ious] == [6, 6]
    assert min(map(min, ious)) >= 0.8


# Versions


def version(client: FlaskClient, config: str = TUTORIAL) -> str:
    setup = {"project": "1.1795170150", "schema": config, "hostname": "", "access_token": ""}
    return str(client.post("/setup", json=setup).get_json()["model_version"])


def test_setup_and_predict_give_the_same_version(make_client: MakeClient) -> None:
    client = make_client(**NO_MASKS)
    before = version(client)
    [prediction] = predict(client, body([upload("wide.jpg")]))
    assert prediction["model_version"] == before
    assert before.startswith("demo-")
    ask(client, upload("tall.jpg"), "red square")  # the next pre-annotation asks for this
    after = version(client)
    assert after != before
    [prediction] = predict(client, body([upload("wide.jpg")]))
    assert prediction["model_version"] == after


def test_the_version_names_models_and_follows_what_shapes_the_answer(
    make_client: MakeClient,
) -> None:
    client = make_client()
    assert version(client).startswith("demo+demo-")
    assert version(client) == version(client)
    assert version(client, TUTORIAL.replace('"Ring"', '"Donut"')) != version(client)
    assert version(make_client(BOX_THRESHOLD="0.5")) != version(client)
    assert version(make_client(OUTPUT="both")) != version(client)
    recoloured = TUTORIAL.replace('value="Ring"', 'value="Ring" background="red"')
    assert version(client, recoloured) == version(client)


def test_a_prompt_learned_meanwhile_is_not_claimed_to_have_been_asked(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(**NO_MASKS)

    class LearnsMeanwhile(PromptHistory):
        """Says what it knows, and has learned something newer at the next call."""

        def newest(self, project: str) -> str | None:
            known = super().newest(project)
            self.save(project, "red square")
            return known

    client = client_of(service)
    asked_for_labels = version(client)
    meanwhile = replace(service, prompts=LearnsMeanwhile(None))
    client = client_of(meanwhile)
    [prediction] = predict(client, body([upload("tall.jpg")]))
    assert len(names_found(prediction)) == 5
    assert prediction["model_version"] == asked_for_labels


# The base class


def test_works_under_label_studio_ml_2(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, truth: Truth
) -> None:
    """With a stand-in for 2.x's base class: its constructor, its store, its call of setup()."""

    class Base2:
        store: dict[tuple[str, str], str] = {}

        def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
            self.project_id = project_id or ""
            self.set("label_config", label_config or "")
            self.setup()

        def setup(self) -> None: ...

        def set(self, key: str, value: str) -> None:
            self.store[self.project_id, key] = value

        @property
        def label_config(self) -> str:
            return self.store[self.project_id, "label_config"]

    stand_in = types.ModuleType("label_studio_ml.model")
    stand_in.LabelStudioMLBase = Base2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", stand_in)
    model_2x = runpy.run_path(backend.__file__)
    labeler_class = model_2x["GroundedLabeler"].bound_to(make_service(**NO_MASKS))
    labeler = labeler_class(project_id="7", label_config=TUTORIAL)
    assert labeler.label_config == TUTORIAL
    assert Base2.store["7", "model_version"] == labeler.model_version
    tasks = body([upload("wide.jpg")])["tasks"]
    [prediction] = labeler.predict(tasks, context=typed("red circle"), login=None, password=None)
    [box] = of_type(prediction["result"], "rectanglelabels")
    assert overlap(box, truth, "wide.jpg", "red circle") >= 0.8
    before = labeler.model_version
    # As its server calls it, with what Label Studio's webhook sent.
    saved = [*typed("blue square")["result"], HAND_DRAWN]
    event = {"annotation": {"result": saved}, "project": {"id": 7}}
    assert labeler.fit("ANNOTATION_CREATED", event) == {}
    assert labeler.model_version != before
    [learned] = labeler.predict(tasks)
    assert "blue square" in str(learned["result"])
    before = labeler.model_version
    event = {"annotation": {"result": [*typed("star")["result"], HAND_DRAWN]}}
    assert labeler.fit((), event="ANNOTATION_UPDATED", data=event, job_id="1") == {}  # as 1.x does
    assert labeler.model_version != before
    for other in ({}, {"annotation": None}, {"annotation": {"id": 1}}):
        assert labeler.fit("START_TRAINING", other, job_id="1") == {}


def test_an_upload_is_fetched_once_per_task(
    make_client: MakeClient, label_studio: LabelStudio
) -> None:
    ask(make_client(OUTPUT="both"), upload("wide.jpg"), "red circle")
    assert label_studio.requests == [upload("wide.jpg")]


def test_images_of_any_shape_are_answered(
    make_client: MakeClient, label_studio: LabelStudio
) -> None:
    client = make_client(OUTPUT="both")
    uris = []
    for i, size in enumerate([(1, 1), (2000, 20), (20, 2000), (33, 700)]):
        file = io.BytesIO()
        Image.new("RGB", size, (120, 130, 120)).save(file, "PNG")
        uris.append(label_studio.upload(f"{i}.png", file.getvalue()))
    predictions = predict(client, body(uris))
    assert all("result" in prediction for prediction in predictions)
