"""Rotated boxes, limited polygons and vectors, the whole way, on the trained demo models."""

import logging
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.polygons import trace
from grounded_labeler.core.rotated import box_to_draw
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.label_studio.outlines import outline_of
from grounded_labeler.label_studio.shapes import rotated_box_of
from tests.conftest import MakeClient
from tests.core.test_rotated import fill
from tests.helpers.asking import (
    IMAGE,
    LABELS,
    POLYGONS,
    PROMPT,
    STATUS,
    ask,
    of_type,
    status_of,
    view,
)
from tests.helpers.truth import Truth, true_masks
from tests.label_studio.test_clicks import draw, inside
from tests.label_studio.test_forms import ROTATED, VECTORS

WIDE, WIDE_WH = "/data/upload/1/wide.jpg", (640, 480)
LARGE, LARGE_WH = "/data/upload/1/large.jpg", (1280, 960)
POINTS = f'<KeyPointLabels name="points" toName="image" smart="true">{LABELS}</KeyPointLabels>'


def corners(region: dict[str, Any]) -> NDArray[np.float64]:
    box = rotated_box_of(region, LARGE_WH)
    assert box is not None, region["value"]
    return box.corners()


def on(corners_xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    return fill(corners_xy, 1280)[:960]


def test_a_typed_prompt_gives_the_rotated_box_of_the_object(
    client: FlaskClient, truth: Truth
) -> None:
    results = ask(client, LARGE, "blue square", config=view(PROMPT, STATUS, IMAGE, ROTATED))
    [region] = of_type(results, "rectanglelabels")
    true = box_to_draw(Mask.from_full(true_masks(truth, "large.jpg")["blue square"]))
    assert true is not None
    assert mask_iou(on(corners(region)), on(true.corners())) >= 0.9
    assert 0.3 <= region["score"] <= 1
    assert "Found Square: 1." in status_of(results)


def test_without_a_segmenter_boxes_are_upright(make_client: MakeClient) -> None:
    results = ask(
        make_client(SEGMENTER="none"), LARGE, "blue square", config=view(PROMPT, IMAGE, ROTATED)
    )
    [region] = of_type(results, "rectanglelabels")
    assert region["value"]["rotation"] == 0


def test_a_click_gives_the_rotated_box_where_the_config_holds_nothing_else(
    client: FlaskClient, truth: Truth
) -> None:
    mask = true_masks(truth, "large.jpg")["blue square"]
    config = view(PROMPT, IMAGE, ROTATED, POINTS)
    results = draw(client, inside(mask), config=config, image=LARGE)
    [region] = of_type(results, "rectanglelabels")
    true = box_to_draw(Mask.from_full(mask))
    assert true is not None
    assert mask_iou(on(corners(region)), on(true.corners())) >= 0.85


def test_vectors_lie_on_the_object(client: FlaskClient, truth: Truth) -> None:
    results = ask(client, WIDE, "blue star", config=view(PROMPT, IMAGE, VECTORS))
    [region] = of_type(results, "vectorlabels")
    outline = outline_of(region["value"])
    assert outline is not None
    assert mask_iou(fill(outline * WIDE_WH / 100, 640)[:480], true_masks(truth)["blue star"]) >= 0.9


def test_the_status_field_and_the_log_say_what_polygons_leave_out(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The demo models leave no specks, so one is drawn beside their mask."""

    def with_speck(mask: Mask, *limits: Any) -> Any:
        full = mask.full()
        full[2:4, 2:4] = True
        return trace(Mask.from_full(full), *limits)

    monkeypatch.setattr("grounded_labeler.label_studio.region_values.trace", with_speck)
    caplog.set_level(logging.INFO)
    results = ask(client, WIDE, "blue star", config=view(PROMPT, STATUS, IMAGE, POLYGONS))
    assert len(of_type(results, "polygonlabels")) == 1
    assert status_of(results).endswith("Left out 1 speck of 1 object, less than 0.1 % of the area.")
    [line] = [record for record in caplog.records if hasattr(record, "left_out")]
    assert "polygons leave out 1 specks and holes" in line.getMessage()
    assert line.__dict__["left_out"] == 1
    assert 0 < line.__dict__["left_out_share"] < 0.001
