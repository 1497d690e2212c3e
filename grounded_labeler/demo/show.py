"""See it work: the whole service on bundled models and images, in one command.

A small file server stands in for Label Studio; everything else is the service as it runs in
earnest. `demo seed` makes a project to try in a running Label Studio; `demo figures` measures
the small models on images that they have not seen.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounded_labeler._text import rounded_down
from grounded_labeler.demo.process import HERE, run_service
from grounded_labeler.errors import GroundedLabelerError, sentence_of
from grounded_labeler.images.decode import decode
from grounded_labeler.interrupts import check, finishing
from grounded_labeler.label_studio.rendering import box_of, draw, label_of, mask_of
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings

LOG = "service.log"  # in --out
SAMPLES = Path(__file__).parent / "samples"

LABEL_CONFIG = """
<View>
  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1"/>
  <TextArea name="status" toName="image" smart="false" rows="1" maxSubmissions="1"/>
  <Image name="image" value="$image"/>
  <RectangleLabels name="boxes" toName="image">
    <Label value="Circle"/><Label value="Square"/><Label value="Triangle"/>
    <Label value="Star"/><Label value="Ring" predicted_values="donut"/>
  </RectangleLabels>
  <BrushLabels name="masks" toName="image">
    <Label value="Circle"/><Label value="Square"/><Label value="Triangle"/>
    <Label value="Star"/><Label value="Ring"/>
  </BrushLabels>
</View>
"""

PROMPTS = {
    "wide.jpg": "blue star . ring . red circle . unicorn",
    "tall.jpg": "red square, star, triangle",
    "large.jpg": "blue -> Square . -blue star . -blue ring . purple star",
    "rotated.jpg": "red ring; red circle; green square",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status is 0 when every image got an answer."""
    parser = parser_of("demo", __doc__ or "")
    parser.add_argument(
        "--port", type=int, default=9090, help="port of the service (default: 9090)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        help="folder for the drawn images (default: demo-output)",
    )
    options = parser.parse_args(argv)
    try:
        with finishing():
            options.out.mkdir(parents=True, exist_ok=True)
            _show(options.port, options.out, Console(markup=False, emoji=False, highlight=False))
    except GroundedLabelerError as error:
        sentence = str(error)
    except requests.RequestException as error:
        sentence = f"The service does not answer ({error}); see {options.out / LOG}."
    except OSError as error:
        sentence = f"The demo cannot be shown: {sentence_of(error)}"
    else:
        return 0
    check()
    sys.exit(sentence)


def _show(port: int, out: Path, console: Console) -> None:
    log = out / LOG
    log.unlink(missing_ok=True)
    # Graphs of the models, where they were made. Prompts go elsewhere: those of annotators, which
    # may lie beside the graphs, are none of the demo's.
    given = {name: os.environ[name] for name in ("MODEL_DIR",) if name in os.environ}
    models = str(Settings.from_env(given).model_dir.resolve())
    with (
        image_server() as images,
        run_service(
            port,
            log,
            OUTPUT="both",
            LABEL_STUDIO_URL=images,
            MODEL_DIR=models,
            DATA_DIR=str(out.resolve()),
        ) as url,
    ):
        health = HERE.get(f"{url}/health", timeout=5).json()
        console.print(f"Service on {url}: {health['model']} on {health['device']}\n")
        for name, prompt in PROMPTS.items():
            answer = _predict(url, name, prompt)
            console.print(Text.assemble((name, "bold"), f"  {prompt}"))
            console.print(_table(answer))
            _save_drawing(name, answer, out)
    console.print(f"Images with boxes and masks: {out}\nThe service's log: {log}")


@contextmanager
def image_server() -> Iterator[str]:
    """Serve the bundled images by their names, under any path, open to all."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(SAMPLES / Path(path).name)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
            """Keep the console for the table."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SAMPLES)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _predict(url: str, name: str, prompt: str) -> dict[str, Any]:
    """Send what Label Studio sends when an annotator types `prompt` next to an image."""
    typed = {
        "value": {"text": [prompt]},
        "id": "y3O1S0tttR",
        "from_name": "prompt",
        "to_name": "image",
        "type": "textarea",
        "origin": "manual",
    }
    task = {"id": 1, "data": {"image": f"/data/upload/1/{name}"}, "annotations": [], "drafts": []}
    body = {
        "tasks": [task],
        "project": "1.1795170150",
        "label_config": LABEL_CONFIG,
        "params": {"login": None, "password": None, "context": {"result": [typed]}},
    }
    response = HERE.post(f"{url}/predict", json=body, timeout=100)
    if not response.ok:
        raise GroundedLabelerError(f"The service refused the request: {response.text}")
    answer: dict[str, Any] = response.json()["results"][0]
    return answer


def _table(answer: dict[str, Any]) -> Table:
    regions = answer["result"]
    status = next((r["value"]["text"][0] for r in regions if r["from_name"] == "status"), "")
    table = Table(caption=status, caption_justify="left")
    for column in ("label", "score", "x", "y", "width", "height", "mask pixels"):
        table.add_column(column, justify="left" if column == "label" else "right")
    boxes = [region for region in regions if region["from_name"] == "boxes"]
    masks = [region for region in regions if region["from_name"] == "masks"]
    for box, mask in zip(boxes, masks, strict=True):
        x0, y0, x1, y1 = box_of(box).round().astype(int).tolist()
        sizes = (x0, y0, x1 - x0, y1 - y0, int(mask_of(mask).sum()))
        table.add_row(label_of(box), rounded_down(box["score"]), *map(str, sizes))
    return table


def _save_drawing(name: str, answer: dict[str, Any], folder: Path) -> None:
    image = decode((SAMPLES / name).read_bytes())
    Image.fromarray(draw(image, answer["result"])).save(folder / Path(name).with_suffix(".png"))
    (folder / Path(name).with_suffix(".json")).write_text(json.dumps(answer, indent=1) + "\n")
