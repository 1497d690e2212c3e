"""The example of docs/tuning.md, with the commands that stand there, and its pictures."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page

from grounded_labeler.demo.process import ROOT

PAGE = ROOT / "docs" / "tuning.md"
PATIENCE_S = 900
WIDE = {"width": 1200, "height": 900}


def commands() -> list[str]:
    """What the page has its readers type, block by block."""
    return re.findall(r"<!-- example -->\n```bash\n(.*?)```", PAGE.read_text(), re.S)


def run(command: str, folder: Path) -> str:
    """Type it in a shell; standard output of one that ends well."""
    programs = Path(sys.executable).parent
    environ = os.environ | {
        "DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(folder), "COLUMNS": "160",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environ, text=True, capture_output=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def picture(of: Page | Locator, folder: Path, name: str) -> None:
    of.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=75)


def open_report(page: Page, folder: Path, name: str) -> None:
    """Open what a command wrote, as somebody sees it who works in the folder."""
    page.goto((folder / "evaluated" / name).as_uri())
    page.evaluate(
        "path => { document.body.innerHTML = document.body.innerHTML.replaceAll(path, '') }",
        f"{folder}/",
    )


def test_the_example_leads_from_a_guess_to_figures(
    browser: Browser, out: Path, tmp_path: Path
) -> None:
    evaluate, tune, compare = commands()
    said = run(evaluate, tmp_path)
    assert re.search(r"weakest “Disc” \(F1 0\.00\)", said)
    page = browser.new_context(viewport=WIDE).new_page()  # type: ignore[arg-type]
    open_report(page, tmp_path, "report.html")
    picture(page, out / "docs", "report")
    page.set_viewport_size({"width": 1000, "height": 900})
    worst = page.locator(".images")
    worst.evaluate("grid => [...grid.children].slice(12).forEach(image => image.remove())")
    picture(worst, out / "docs", "report-worst")

    said = run(tune, tmp_path)
    assert re.search(r'\+ +<Label value="Disc" prompt="circle"', said)
    figures = json.loads((tmp_path / "tuned" / "tuned.json").read_text())
    assert len(figures["tasks"]) == 80

    said = run(compare, tmp_path)
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    open_report(page, tmp_path, "comparison.html")
    picture(page, out / "docs", "comparison")
    written = json.loads((tmp_path / "evaluated" / "comparison.json").read_text())
    disc = next(one for one in written["labels"] if one["label"] == "Disc")
    assert disc["f1"]["low"] > 0.4, "what is said to be better is"
    page.context.close()
