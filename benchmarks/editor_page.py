"""A task in Label Studio's editor, opened and submitted, by the clock of the browser.

Long tasks and blocking time are what https://web.dev/articles/tbt takes them for: a task of the
main thread is long from 50 ms on, and what is above 50 ms of it blocks. The editor answers as
https://web.dev/articles/tti has it: when all is drawn and no long task follows.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import BrowserContext, Page
from playwright.sync_api import Error as PlaywrightError

LIMIT_S = 180.0
_WAIT_MS = LIMIT_S * 1000

# Objects are asked after in order, and one that is drawn is not asked after again: reading
# pixels of a canvas takes time itself.
_WATCH = """(expected) => {
  const marks = { tasks: [], drawn: null, answers: null, selected: null };
  window.editorMarks = marks;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) marks.tasks.push([task.startTime, task.duration]);
  }).observe({ type: "longtask", buffered: true });
  addEventListener("mousedown", (event) => {
    const isSelected = () => {
      if (Htx.annotationStore.selected.selectionSize === 0) requestAnimationFrame(isSelected);
      else setTimeout(() => { marks.selected = performance.now() - event.timeStamp; });
    };
    requestAnimationFrame(isSelected);
  }, { capture: true, once: true });
  let next = 0, hit = 0;
  const isOpaque = (canvas, x, y) => {
    const ratio = canvas.getPixelRatio();
    const pixel = canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1);
    return pixel.data[3] > 0;
  };
  const isDrawn = () => {
    const annotation = window.Htx?.annotationStore?.selected;
    const image = annotation?.names.get("image");
    if (!image?.stageRef || annotation.regions.length !== expected.regions) return false;
    // The image has a layer of its own, with nothing around it.
    const layers = image.stageRef.getLayers()
      .filter((layer) => layer.getChildren()[0]?.getClassName() !== "Image");
    for (; next < expected.points.length; next++) {
      const x = expected.points[next][0] * image.stageWidth;
      const y = expected.points[next][1] * image.stageHeight;
      const found = layers.findIndex((_, i) =>
        isOpaque(layers[(i + hit) % layers.length].getCanvas(), x, y));
      if (found < 0) return false;
      hit = (hit + found) % layers.length;
    }
    return true;
  };
  const look = () => {
    const now = performance.now();
    if (marks.drawn === null && isDrawn()) marks.drawn = now;
    if (marks.drawn !== null) {
      const ends = marks.tasks.map(([start, duration]) => start + duration);
      const busy = Math.max(marks.drawn, ...ends);
      if (now - busy > expected.quiet) {
        marks.answers = busy;
        return;
      }
    }
    setTimeout(() => requestAnimationFrame(look), 50);
  };
  look();
}"""
_QUIET_MS = 2000
_REGION = ".lsf-outliner-item"  # in the list beside the image
_MARKS = """() => {
  const {drawn, answers, tasks} = window.editorMarks;
  const blocking = tasks.filter(([start]) => start < answers)
    .reduce((sum, [, duration]) => sum + duration - 50, 0);
  const longest = Math.max(0, ...tasks.map(([, duration]) => duration));
  const downloads = performance.getEntriesByType("resource")
    .filter(({name}) => /\\/api\\/tasks\\b/.test(name));
  return {
    drawn, answers, blocking, longest,
    bytes: downloads.reduce((sum, entry) => sum + entry.transferSize, 0),
  };
}"""
_SUBMIT = """() => {
  addEventListener("click", (event) => { window.editorMarks.pressed = event.timeStamp; }, true);
}"""
_SENT = """(path) => {
  const entry = performance.getEntriesByType("resource").find(({name, initiatorType}) =>
    name.includes(path) && initiatorType === "fetch");
  return entry && entry.startTime - window.editorMarks.pressed;
}"""


@dataclass(frozen=True)
class Expected:
    """What is to be drawn: so many regions, of which each point is in one, x and y from 0 to 1."""

    regions: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Opened:
    """Seconds from the start of the navigation; `bytes` is what came from `/api/tasks`.

    `drawn_s` is when all regions were seen on the screen, `answers_s` when the main thread had
    no more long tasks, `blocking_s` how long it was blocked until then, `longest_s` its longest
    task, `processor_s` the processor's time it took, `select_s` how long it took from a click in
    the list of regions until a frame showed one selected.
    """

    drawn_s: float
    answers_s: float
    blocking_s: float
    longest_s: float
    processor_s: float
    select_s: float
    bytes: int


@dataclass(frozen=True)
class Submitted:
    """`sent_s` from the press of Submit until the request goes out; `bytes` is its body.

    `processor_s` is the main thread's from the press until the annotation is saved and shown.
    """

    sent_s: float
    processor_s: float
    bytes: int


class DoesNotAnswer(Exception):
    """The editor did not answer within LIMIT_S, or its page ran out of memory."""


class EditorPage:
    """A page of its own in `context` for one task; closed when the block is left."""

    def __init__(self, context: BrowserContext, url: str, expected: Expected) -> None:
        self._url = url
        self._expected = expected
        self._page: Page = context.new_page()
        self._page.set_default_timeout(_WAIT_MS)
        given = json.dumps(
            {"regions": expected.regions, "points": list(expected.points), "quiet": _QUIET_MS}
        )
        self._devtools = context.new_cdp_session(self._page)
        # In time that the thread runs, whatever else the machine does.
        self._devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._page.add_init_script(f"({_WATCH})({given})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(PlaywrightError):  # of a page that has crashed there is nothing to close
            self._page.close()

    def open(self, screenshot: Path | None = None) -> Opened:
        """Open the task and select its first region; raises DoesNotAnswer."""
        with _answering():
            self._page.goto(self._url, wait_until="commit")
            self._page.wait_for_function(
                "() => window.editorMarks.answers !== null", polling=200, timeout=_WAIT_MS
            )
            marks: dict[str, Any] = self._page.evaluate(_MARKS)
            if screenshot is not None:
                self._page.screenshot(path=screenshot)
            processor_s = self._processor_time()
            select_ms = self._select()
        return Opened(
            marks["drawn"] / 1000,
            marks["answers"] / 1000,
            marks["blocking"] / 1000,
            marks["longest"] / 1000,
            processor_s,
            select_ms / 1000,
            int(marks["bytes"]),
        )

    def submit(self) -> Submitted:
        """Press Submit in the open task and wait until it is saved; raises DoesNotAnswer."""
        with _answering():
            self._page.evaluate(_SUBMIT)
            before_s = self._processor_time()
            with self._page.expect_response(
                lambda response: (
                    response.request.method == "POST" and "/annotations" in response.url
                ),
                timeout=_WAIT_MS,
            ) as saved:
                self._page.get_by_test_id("bottombar-submit-button").click()
            response = saved.value
            if not response.ok:
                raise RuntimeError(f"Submit was answered {response.status}: {response.text()}")
            body = response.request.post_data_buffer or b""
            self._page.get_by_test_id("bottombar-update-button").wait_for()
            sent_ms: float = self._page.evaluate(_SENT, response.url.partition("?")[0])
            taken_s = self._processor_time() - before_s
        return Submitted(sent_ms / 1000, taken_s, len(body))

    def _select(self) -> float:
        """Milliseconds from a click in the list of regions until a frame shows one selected."""
        self._page.locator(_REGION).first.click()
        self._page.wait_for_function("() => editorMarks.selected !== null", polling=200)
        taken: float = self._page.evaluate("() => editorMarks.selected")
        return taken

    def _processor_time(self) -> float:
        """Seconds of a processor that the main thread has taken since the page was opened."""
        metrics = self._devtools.send("Performance.getMetrics")["metrics"]
        [taken] = [float(one["value"]) for one in metrics if one["name"] == "TaskDuration"]
        return taken


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except PlaywrightError as error:
        raise DoesNotAnswer(str(error).partition("\n")[0]) from error
