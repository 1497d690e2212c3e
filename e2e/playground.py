"""The playground as somebody uses it in a browser."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request, expect

from grounded_labeler.demo.process import answers, free_port, running
from grounded_labeler.settings import variable_names

_ON_SCREEN = """(image, [x, y]) => {
    const box = image.getBoundingClientRect(), ratio = image.naturalWidth / image.naturalHeight;
    const width = Math.min(box.width, box.height * ratio), height = width / ratio;
    return [(box.width - width) / 2 + x * width, (box.height - height) / 2 + y * height];
}"""


@dataclass(frozen=True)
class Playground:
    """What somebody does on the page; it may ask its own server and nobody else."""

    page: Page
    url: str
    strangers: list[str]  # what it asked other hosts for

    @classmethod
    def opened(cls, page: Page, url: str) -> "Playground":
        strangers: list[str] = []

        def note(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(url).netloc:
                strangers.append(request.url)

        page.context.on("request", note)
        page.goto(url)
        page.locator("#prompt textarea").wait_for()
        return cls(page, url, strangers)

    def says(self, pattern: str, place: str = "status") -> str:
        """Wait for a sentence, and return it."""
        sentence = self.page.locator(f"#{place} p")
        expect(sentence).to_have_text(re.compile(pattern))
        return sentence.inner_text()

    def sample(self, name: str) -> None:
        number = sorted(["large", "rotated", "tall", "wide"]).index(name)
        self.page.locator("#samples .thumbnail-item").nth(number).click()
        self.says(rf"^{name}\.jpg")

    def upload(self, file: Path) -> None:
        self.page.locator("#upload input[type=file]").set_input_files(file)

    def enter(self, field: str, text: str) -> None:
        self.page.locator(f"#{field}").get_by_role("textbox").fill(text)
        self.page.keyboard.press("Enter")

    def find(self, prompt: str, labels: str = "") -> None:
        self.page.locator("#labels").get_by_role("textbox").fill(labels)
        self.page.locator("#prompt textarea").fill(prompt)
        self.page.locator("#find").click()

    def slide(self, slider: str, value: float) -> None:
        self.page.locator(f"#{slider} input[type=range]").fill(str(value))

    def kept(self) -> tuple[int, int]:
        """Wait until it says how many candidates are kept, and of how many."""
        said = self.says("candidates kept")
        kept, every = re.findall(r": (\d+) of (\d+) candidates", said)[0]
        return int(kept), int(every)

    def rows(self) -> list[list[str]]:
        """The cells of the table of candidates."""
        rows = self.page.locator("#table tbody tr").all()
        return [row.locator("td").all_inner_texts() for row in rows]

    def source(self, image: str = "shown") -> str:
        """Where the drawn image comes from: another one for each that is drawn."""
        return self.page.locator(f"#{image} img").get_attribute("src") or ""

    def redraws(self, before: str, image: str = "shown") -> None:
        """Wait until another image is drawn than `before`."""
        expect(self.page.locator(f"#{image} img")).not_to_have_attribute("src", before)

    def click(self, x: float, y: float, image: str = "shown") -> None:
        """Click on a point of an image, as fractions of its width and height."""
        shown = self.page.locator(f"#{image} img")
        shown.wait_for()
        across, down = shown.evaluate(_ON_SCREEN, [float(x), float(y)])
        shown.click(position={"x": across, "y": down})

    def copied(self) -> str:
        """Press the button for a label config, and return what it gives."""
        self.page.locator("#copy").click()
        field = self.page.locator("#config textarea")
        expect(field).to_have_value(re.compile("</View>"))
        return field.input_value()


@contextmanager
def run_playground(folder: Path, *options: str, **environ: str) -> Iterator[str]:
    """Run the command with the demo models and these options; yields the page's address."""
    ours = {name for names in variable_names().values() for name in names}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    defaults = {"DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(folder.resolve())}
    command = [sys.executable, "-m", "grounded_labeler", "playground", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/"
    with running(
        [*command, *options], inherited | defaults | environ, folder / "log", lambda: answers(url)
    ):
        yield url
