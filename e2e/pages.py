"""What an annotator and an engineer do on Label Studio's pages.

Buttons are found by what is written on them: releases have had that in common, back to the oldest
that is supported, whose pages have few ids for tests.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, StorageState, expect

from e2e.label_studio import PASSWORD, USER, Region

_SUGGESTIONS = """[...Htx.annotationStore.selected.suggestions.values()]
    .flatMap(region => region.results.map(result => result.serialize()))"""
_STAGE = """() => {
    const {left, top} = document.querySelector(".konvajs-content canvas").getBoundingClientRect();
    const {stageWidth, stageHeight} = Htx.annotationStore.selected.names.get("image");
    return [left, top, [stageWidth, stageHeight]];
}"""
_BITMASK_BOX = """() => {
    const {annotations, predictions} = Htx.annotationStore;
    const [region] = [...annotations, ...predictions].flatMap(one => one.regions);
    if (!region?.bbox) return null;
    const zoom = region.parent.stageZoom;
    return ["left", "top", "right", "bottom"].map(side => region.bbox[side] / zoom);
}"""
_REGIONS = "Htx.annotationStore.selected.serializeAnnotation()"


def log_in(browser: Browser, url: str) -> StorageState:
    """Log the annotator in to the Label Studio at `url`; returns the cookies."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/user/login/")
    page.locator("input[name=email]").fill(USER)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("button[type=submit]").click()
    page.wait_for_url(lambda url: "login" not in url)
    cookies = context.storage_state()
    context.close()
    return cookies


class Editor:
    """A task opened from the data manager."""

    def __init__(self, page: Page, label_studio_url: str) -> None:
        self.page = page
        self.url = label_studio_url
        self.asked = 0  # interactive requests the editor has sent
        page.on("request", self._count)

    def open(self, project: int, task: int) -> None:
        self.page.goto(f"{self.url}/projects/{project}/data?task={task}")
        self.page.get_by_label("Auto-Annotation").wait_for()
        self.page.locator(".prompt").get_by_role("textbox").or_(self.prompts).first.wait_for()
        # On a slow machine the editor is drawn once more, and what was typed is gone.
        self.page.wait_for_load_state("networkidle")

    def auto_annotation(self, *, accept: bool = False) -> None:
        """Turn Auto-Annotation on, and Auto-Accept Suggestions if wanted."""
        self.page.get_by_label("Auto-Annotation").check()
        if accept:
            self.page.get_by_label("Auto-Accept Suggestions").check()

    def type(self, prompt: str) -> None:
        self.page.locator(".prompt textarea").fill(prompt)

    def ask(self, prompt: str) -> None:
        """Type a prompt, press Add and wait for the answer."""
        self.type(prompt)
        self._await_answer(self.page.locator(".prompt").get_by_role("button", name="Add").click)

    def ask_instead(self, prompt: str) -> None:
        """Change the prompt that was added before and wait for the answer."""
        self.prompts.hover()
        self.page.locator(".prompt").get_by_label("Edit Region").click()
        field = self.page.locator(".prompt textarea")
        field.fill(prompt)
        self._await_answer(lambda: field.press("Shift+Enter"))

    def take_back_prompt(self) -> None:
        """Delete the prompt that was added; Label Studio asks nothing then."""
        self.prompts.hover()
        self.page.locator(".prompt").get_by_label("Delete Region").click()
        self.page.locator(".prompt textarea").wait_for()

    @property
    def prompts(self) -> Locator:
        """The prompts that were added."""
        return self.page.locator(".prompt [data-testid=textarea-region]")

    @property
    def status(self) -> Locator:
        """The sentence in the status field."""
        return self.page.locator(".status [data-testid=textarea-region]")

    def suggestions(self) -> list[Region]:
        found: list[Region] = self.page.evaluate(_SUGGESTIONS)
        return found

    def regions(self) -> list[Region]:
        """What would be saved now: accepted regions, the prompt, the status."""
        found: list[Region] = self.page.evaluate(_REGIONS)
        return found

    def smart_tool(self, name: str) -> None:
        """Choose a kind of smart tool in the menu of Auto-Detect, if it has several."""
        button = self.page.locator(".lsf-tool_smart").first
        button.hover()
        kind = self.page.locator(f".lsf-tool__extra [aria-label={name}]")
        (kind if kind.count() else button).click()

    def click(
        self, place: tuple[int, int], size_hw: tuple[int, ...], hotkey: str, *, alt: bool = False
    ) -> None:
        """Select a label by its hotkey, click on a pixel of the image and wait for the answer."""
        x, y = self._on_screen(*place, size_hw)
        self.page.keyboard.press(hotkey)
        if alt:
            self.page.keyboard.down("Alt")
        self._await_answer(lambda: self.page.mouse.click(x, y))
        if alt:
            self.page.keyboard.up("Alt")

    def draw_box(self, box: Sequence[float], size_hw: tuple[int, ...], hotkey: str = "") -> None:
        """Select a label, if its hotkey is given, draw a box and wait for the answer.

        The box is xyxy in pixels of the image.
        """
        x0, y0 = self._on_screen(box[0], box[1], size_hw)
        x1, y1 = self._on_screen(box[2], box[3], size_hw)
        if hotkey:
            self.page.keyboard.press(hotkey)
        self.page.mouse.move(x0, y0)
        self.page.mouse.down()
        self.page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=5)
        self.page.mouse.move(x1, y1, steps=5)
        self._await_answer(self.page.mouse.up)

    def select_region(self) -> None:
        """Select the first region in the list beside the image."""
        self.page.locator(".lsf-outliner-item").first.click()
        self.page.wait_for_function("() => Htx.annotationStore.selected.selectionSize === 1")

    def stroke(
        self, start: tuple[int, int], end: tuple[int, int], size_hw: tuple[int, ...]
    ) -> None:
        """Draw with the chosen tool from one pixel of the image to another."""
        self.page.mouse.move(*self._on_screen(*start, size_hw))
        self.page.mouse.down()
        self.page.mouse.move(*self._on_screen(*end, size_hw), steps=10)
        self.page.mouse.up()

    def drag(
        self,
        region: tuple[float, float],
        start: tuple[float, float],
        end: tuple[float, float],
        size_hw: tuple[int, ...],
    ) -> None:
        """Select the region at a pixel of the image, and drag one of its corners to another."""
        x0, y0 = self._on_screen(*start, size_hw)
        x1, y1 = self._on_screen(*end, size_hw)
        self.page.mouse.click(*self._on_screen(*region, size_hw))
        self.page.mouse.move(x0, y0, steps=5)
        self.page.mouse.down()
        self.page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=5)
        self.page.mouse.move(x1, y1, steps=5)
        self.page.mouse.up()

    def _on_screen(self, x: float, y: float, size_hw: tuple[int, ...]) -> tuple[float, float]:
        """Where a pixel of the image is on the page."""
        left, top, on_screen_wh = self.page.evaluate(_STAGE)
        height, width = size_hw
        return (
            left + (x + 0.5) * on_screen_wh[0] / width,
            top + (y + 0.5) * on_screen_wh[1] / height,
        )

    def open_to_draw(self, project: int, task: int) -> None:
        """Open a task of a project that has no backend."""
        self.page.goto(f"{self.url}/projects/{project}/data?task={task}")
        self.page.locator(".konvajs-content canvas").first.wait_for()
        self.page.wait_for_load_state("networkidle")

    def draw_along(
        self, places: Sequence[tuple[float, float]], size_hw: tuple[int, ...], hotkey: str
    ) -> None:
        """Select a label by its hotkey and drag its tool over these pixels of the image."""
        first, *others = [self._on_screen(x, y, size_hw) for x, y in places]
        self._choose(hotkey)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for place in others:
            self.page.mouse.move(*place, steps=10)
        self.page.mouse.up()

    def click_through(
        self, places: Sequence[tuple[float, float]], size_hw: tuple[int, ...], hotkey: str
    ) -> None:
        """Select a label by its hotkey and click on these pixels: a polygon, closed by the last."""
        *corners, last = [self._on_screen(x, y, size_hw) for x, y in places]
        self._choose(hotkey)
        # The editor loses clicks that come while it still handles the one before.
        areas = "[...Htx.annotationStore.selected.areas.values()]"
        for count, place in enumerate(corners, start=1):
            self.page.mouse.move(*place, steps=5)
            self.page.mouse.click(*place)
            self.page.wait_for_function(f"{areas}.some(one => one.points?.length === {count})")
        self.page.mouse.move(*last, steps=5)
        self.page.mouse.click(*last)
        self.page.wait_for_function(
            f"{areas}.some(one => one.points?.length === {len(corners)} && one.closed)"
        )

    def turn(self, box: Sequence[float], size_hw: tuple[int, ...]) -> None:
        """Choose the rectangle that was drawn here, xyxy in pixels, and turn it by its handle."""
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        self._choose("v")
        centre = self._on_screen(x, y, size_hw)
        self.page.mouse.click(*centre)
        self.page.wait_for_function("Htx.annotationStore.selected.selectedRegions.length == 1")
        handle = self._on_screen(x, box[1] - 0.5, size_hw)
        self.page.mouse.move(handle[0], handle[1] - 50)  # Konva's rotateAnchorOffset
        self.page.mouse.down()
        self.page.mouse.move(centre[0] + 60, centre[1] - 90, steps=20)
        self.page.mouse.up()

    def _choose(self, hotkey: str) -> None:
        """Choose a label or a tool, which would change the region that was drawn before."""
        self.page.keyboard.press("Escape")
        self.page.wait_for_function("Htx.annotationStore.selected.selectedRegions.length == 0")
        self.page.keyboard.press("Escape")
        self.page.keyboard.press(hotkey)

    def reject(self) -> None:
        self._decide("reject")

    def bitmask_box(self) -> list[float]:
        """The box, xyxy in pixels, around what the editor takes for a bitmask's object."""
        handle = self.page.wait_for_function(_BITMASK_BOX)
        found: list[float] = handle.json_value()
        return found

    def accept(self) -> None:
        self._decide("accept")

    def _decide(self, what: str) -> None:
        """Accept or reject all suggestions, whose buttons have no text."""
        buttons = self.page.locator(".lsf-auto-accept__action")
        buttons.and_(self.page.locator(f".lsf-auto-accept__action_type_{what}")).click()
        expect(buttons).to_have_count(0)

    @property
    def submit_button(self) -> Locator:
        return button(self.page, "Submit")

    @property
    def update_button(self) -> Locator:
        """What stands in the place of Submit once an annotation is saved."""
        return button(self.page, "Update")

    def submit(self) -> None:
        """Press Submit and wait until the annotation is saved and all that follows is done."""
        with self.page.expect_response(_is(r"/api/tasks/\d+/annotations")) as saved:
            self.submit_button.click()
        assert saved.value.ok, saved.value.text()
        self.update_button.wait_for()
        self.page.wait_for_load_state("networkidle")

    def _await_answer(self, action: Callable[[], None]) -> None:
        with self.page.expect_response(_is("/interactive-annotating")) as answer:
            action()
        assert answer.value.ok, answer.value.text()
        expect(self.page.locator(".lsf-requesting")).to_have_count(0)

    def _count(self, request: Any) -> None:
        self.asked += "/interactive-annotating" in request.url


class Settings:
    """A project's settings pages."""

    def __init__(self, page: Page, label_studio_url: str) -> None:
        self.page = page
        self.url = label_studio_url

    def connect(self, project: int, service: str, login: tuple[str, str] | None = None) -> None:
        """Fill the form of the Model page, send it and wait for the answer, which may be a no."""
        self.page.goto(f"{self.url}/projects/{project}/settings/ml")
        button(self.page, "Connect Model").click()
        self.page.locator("input[name=title]").fill("grounded-labeler")
        self.page.locator("input[name=url]").fill(service)
        if login:
            self.page.get_by_test_id("select-trigger-auth_method-NONE").click()
            self.page.get_by_test_id("select-option-BASIC_AUTH").click()
            self.page.locator("input[name=basic_auth_user]").fill(login[0])
            self.page.locator("input[name=basic_auth_pass]").fill(login[1])
        self.page.locator("input[name=is_interactive]").check()
        with self.page.expect_response(_is(r"/api/ml(/\d+)?$")):
            button(self.page, "Validate and Save").click()

    def start_training(self, project: int) -> None:
        """Press Start Training in the menu of the connected model, and wait for the answer."""
        self.page.goto(f"{self.url}/projects/{project}/settings/ml")
        # The prefix of its class is another one in each release.
        self.page.locator("[class$=backend-card__menu] button").click()
        self.page.get_by_text("Start Training", exact=True).click()
        self.page.get_by_role("button", name="Start Training").click()
        self.page.get_by_text("Request Sent!").wait_for()

    def write_config(self, project: int, config: str) -> None:
        """Replace the labeling interface, in its code editor."""
        self.page.goto(f"{self.url}/projects/{project}/settings/labeling")
        self.page.get_by_text("Code", exact=True).click()
        code = self.page.locator(".CodeMirror").first
        code.wait_for()
        code.evaluate("(element, text) => element.CodeMirror.setValue(text)", config)
        # Not the answer to /api/projects/7/validate, which is asked while one types and
        # refuses to take away labels that are in use: saving does not.
        with self.page.expect_response(_is(r"/api/projects/\d+/?(\?.*)?$")) as saved:
            button(self.page, "Save").click()
        assert saved.value.ok, saved.value.text()


class DataManager:
    """A project's list of tasks."""

    def __init__(self, page: Page, label_studio_url: str) -> None:
        self.page = page
        self.url = label_studio_url

    def open(self, project: int) -> None:
        self.page.goto(f"{self.url}/projects/{project}/data")
        self.page.get_by_label("Select all rows").wait_for()
        self.page.wait_for_load_state("networkidle")

    def retrieve_predictions(self, project: int) -> None:
        """Select all tasks and ask for predictions, as whole projects are pre-annotated."""
        self.open(project)
        self.page.get_by_label("Select all rows").click()
        button(self.page, r"\d+ Tasks?").click()
        self.page.get_by_text("Retrieve Predictions").click()
        with self.page.expect_response(_is("id=retrieve_tasks_predictions"), timeout=110_000) as r:
            button(self.page, "OK").click()
        assert r.value.ok, r.value.text()


def button(page: Page, text: str) -> Locator:
    """The button on which this is written, and no more: a regular expression.

    Not by its accessible name, which releases change.
    """
    return page.locator("button", has_text=re.compile(rf"^\s*{text}\s*$"))


def _is(pattern: str) -> Callable[[Any], bool]:
    """Whether a response answers a change (not a GET) at an address like this."""
    return lambda response: (
        bool(re.search(pattern, response.url)) and response.request.method != "GET"
    )


def save_for_docs(page: Page, folder: Path, name: str) -> None:
    """An image for the documentation: JPEG, as the photos in it make PNG large."""
    page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=75)
