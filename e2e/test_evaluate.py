"""A project that people annotated is evaluated, and its report opened in a browser."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from e2e.configs import BOXES, MASKS, view
from e2e.label_studio import LEGACY_TOKEN, USER, LabelStudio
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.demo.process import ROOT
from grounded_labeler.demo.shapes import DrawnImage, draw_image
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.regions import encode_regions

CONFIG = view(BOXES, MASKS)
COUNT, SEED = 30, 60_000  # images that the demo models have not seen
PATIENCE_S = 600
RENAMED, LEFT_OUT = 6, 4  # planted faults of the truth

Shapes = list[tuple[str, Any, Any]]  # label, box and mask of each object


def evaluate(
    label_studio: LabelStudio, project: int, out: Path, *options: str
) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable, "-m", "grounded_labeler", "evaluate", "--project", str(project),
        "--out", str(out), *options,
    ]  # fmt: skip
    environ = os.environ | {
        "DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(out.parent),
        "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN,
    }  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, env=environ, text=True, capture_output=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip


def regions(shapes: Shapes, size_wh: tuple[int, int]) -> Any:
    """What the editor saves of these objects: a box and a brush mask of each."""
    [target] = read_label_config(CONFIG).images
    found = Detections(
        np.array([box for _, box, _ in shapes], np.float32).reshape(-1, 4),
        np.ones(len(shapes), np.float32),
        tuple(label for label, _, _ in shapes),
        tuple(label for label, _, _ in shapes),
    )
    masks = [Mask.from_full(mask) for _, _, mask in shapes]
    return encode_regions(found, masks, target, size_wh, "both")


def shapes_of(drawn: DrawnImage) -> Shapes:
    return [(one.kind.capitalize(), one.box, one.mask) for one in drawn.shapes]


class Faults:
    """Changes what is in the images: stars called squares, and objects left out."""

    def __init__(self) -> None:
        self.renamed = self.left_out = 0

    def __call__(self, shapes: Shapes) -> Shapes:
        changed = []
        for label, box, mask in shapes:
            if label == "Ring" and self.left_out < LEFT_OUT:
                self.left_out += 1
            elif label == "Star" and self.renamed < RENAMED:
                self.renamed += 1
                changed.append(("Square", box, mask))
            else:
                changed.append((label, box, mask))
        return changed


@pytest.fixture(scope="session")
def annotated(label_studio: LabelStudio, out: Path) -> tuple[int, list[int], int]:
    """A project with submitted annotations, its tasks, and how many objects are in them."""
    folder = out / "evaluated-images"
    folder.mkdir(exist_ok=True)
    project, faults, objects = label_studio.project("Evaluated", CONFIG), Faults(), 0
    tasks = []
    for number in range(COUNT):
        drawn = draw_image(np.random.default_rng(SEED + number))
        path = folder / f"{number:03}.png"
        Image.fromarray(drawn.image).save(path)
        [task] = label_studio.upload(project, path)
        shapes = faults(shapes_of(drawn))
        objects += len(shapes)
        height, width = drawn.image.shape[:2]
        body = {"result": regions(shapes, (width, height))}
        label_studio._post(f"/api/tasks/{task}/annotations", json=body)
        tasks.append(task)
    assert (faults.renamed, faults.left_out) == (RENAMED, LEFT_OUT)
    not_annotated = draw_image(np.random.default_rng(SEED - 1))
    Image.fromarray(not_annotated.image).save(folder / "not-annotated.png")
    label_studio.upload(project, folder / "not-annotated.png")
    return project, tasks, objects


def figures(out: Path) -> Any:
    return json.loads((out / "evaluation.json").read_text())


def open_page(browser: Browser, path: Path, scheme: Any = "light") -> tuple[Page, list[str]]:
    """Open a file; the page, and the addresses that it asked for."""
    context = browser.new_context(viewport={"width": 1200, "height": 1500}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.goto(path.resolve().as_uri())
    assert faults == []
    return page, [url for url in asked if not url.startswith("data:")]


def test_a_project_is_evaluated_and_its_report_opens_offline(
    label_studio: LabelStudio, annotated: tuple[int, list[int], int], browser: Browser, out: Path
) -> None:
    project, tasks, objects = annotated
    folder = out / "evaluated"
    done = evaluate(label_studio, project, folder)
    assert done.returncode == 0, done.stderr
    assert f"Of {objects} objects in {COUNT} images" in done.stdout
    written = figures(folder)
    assert written["images"] == COUNT
    assert written["total"]["truths"] == objects, "a box and a mask of one object are one object"
    names, counts = written["confusion"]["names"], written["confusion"]["counts"]
    square, star, ring = (names.index(name) for name in ("Square", "Star", "Ring"))
    assert counts[square][star] >= RENAMED - 2, "stars that people called squares"
    assert counts[-1][ring] >= LEFT_OUT - 1, "rings that people left out are wrong"
    assert written["masks"]["ap50"] > 0.6
    assert {one["task"] for one in written["worst"]} <= set(tasks)

    report = folder / "report.html"
    page, asked = open_page(browser, report)
    assert asked == [report.resolve().as_uri()], "nothing is asked for but the file itself"
    assert page.locator("h1").inner_text() == "How good are the predictions?"
    images = page.locator(".images img")
    assert images.count() == min(32, len(written["worst"]))
    loaded = "images => images.every(one => one.complete && one.naturalWidth > 0)"
    assert images.evaluate_all(loaded)
    assert page.locator("svg").count() >= 6
    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(wide), "the page does not scroll sideways"
    [link] = page.locator(".images a").first.evaluate_all("links => links.map(one => one.href)")
    assert link.startswith(f"{label_studio.url}/projects/{project}/data?task=")
    page.screenshot(path=out / "docs" / "evaluation.png")
    page.locator(".images").scroll_into_view_if_needed()
    page.locator(".images").screenshot(path=out / "docs" / "evaluation-worst.png")
    page.context.close()
    dark, _ = open_page(browser, report, "dark")
    color = "getComputedStyle(document.body).backgroundColor"
    assert dark.evaluate(color) != "rgb(255, 255, 255)"
    dark.set_viewport_size({"width": 390, "height": 800})
    assert dark.evaluate(wide), "nor does it on a telephone"
    dark.context.close()


def test_a_part_of_the_project_and_another_threshold_need_no_second_run(
    label_studio: LabelStudio, annotated: tuple[int, list[int], int], out: Path
) -> None:
    project, tasks, _ = annotated
    folder = out / "evaluated"
    if not folder.exists():
        assert evaluate(label_studio, project, folder).returncode == 0
    chosen = [str(task) for task in tasks[:5]]
    done = evaluate(label_studio, project, folder, "--task-ids", *chosen, "--annotator", USER)
    assert done.returncode == 0, done.stderr
    assert "Loading" not in done.stdout, "no model runs again"
    assert figures(folder)["images"] == 5
    none = evaluate(label_studio, project, folder, "--annotator", "nobody@example.com")
    assert none.returncode == 1
    assert "Traceback" not in none.stderr
    assert len(none.stderr.splitlines()) == 1


def test_two_prompts_are_compared_in_images_that_differ(
    label_studio: LabelStudio, annotated: tuple[int, list[int], int], browser: Browser, out: Path
) -> None:
    project, _, _ = annotated
    folder = out / "compared"
    changed = "prompt=circle. square. triangle. ring. blue star -> Star"
    done = evaluate(label_studio, project, folder, "--compare", "now", changed, "--no-masks")
    assert done.returncode == 0, done.stderr
    written = json.loads((folder / "comparison.json").read_text())
    star = next(one for one in written["labels"] if one["label"] == "Star")
    assert star["only_a"] > 0
    assert star["f1"]["high"] < 0
    report = folder / "comparison.html"
    page, asked = open_page(browser, report)
    assert asked == [report.resolve().as_uri()]
    assert page.locator(".pair").count() == min(32, len(written["different"]))
    page.screenshot(path=out / "docs" / "comparison.png", full_page=False)
    page.get_by_role("link", name="its own report").last.click()
    assert page.locator("h1").inner_text() == "How good are the predictions?"
    page.context.close()
