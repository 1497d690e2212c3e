"""Images with the file size of photographs, always the same, and a server that has them."""

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from PIL import Image

from grounded_labeler.core.types import RGBImage

# (width, height) of what is labelled: a small image, a screen, a camera's 12 megapixels.
SIZES_WH = ((640, 480), (1920, 1080), (4000, 3000))
_SHAPES = 24
# The noise is a camera's: with it JPEG needs about 3 bits per pixel, as for a photograph.
_NOISE = 9.0
_JPEG_QUALITY = 92


def draw(size_wh: tuple[int, int], seed: int = 0) -> RGBImage:
    """Smooth fields of colour with shapes on them and a little noise."""
    width, height = size_wh
    rng = np.random.default_rng((width, height, seed))
    image = np.empty((height, width, 3), np.float32)
    x = np.linspace(0, width / height, width, dtype=np.float32)[None]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    for channel in range(3):
        across, down, turn = rng.uniform((1, 1, 0), (5, 5, 6))
        image[..., channel] = 128 + 70 * np.sin(across * x + turn) * np.cos(down * y - turn)
    for _ in range(_SHAPES):
        _add_shape(image, rng)
    cv2.GaussianBlur(image, (0, 0), 0.7, dst=image)  # no lens draws an edge of one pixel
    image += rng.standard_normal(image.shape, np.float32) * np.float32(_NOISE)
    return np.rint(image).clip(0, 255).astype(np.uint8)


def jpeg(size_wh: tuple[int, int], seed: int = 0) -> bytes:
    """The file of `draw`'s image."""
    file = io.BytesIO()
    Image.fromarray(draw(size_wh, seed)).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve `files`, by name, on the loopback interface; yields the address before the name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path.removeprefix("/"))
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the table is what is read."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _add_shape(image: np.ndarray, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    center = (int(rng.integers(width)), int(rng.integers(height)))
    half = (rng.uniform(0.02, 0.2, 2) * height).astype(int)
    color = [float(value) for value in rng.uniform(20, 235, 3)]
    if rng.random() < 0.5:
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(image, center, (int(half[0]), int(half[1])), angle, 0, 360, color, -1)
    else:
        start = (center[0] - int(half[0]), center[1] - int(half[1]))
        end = (center[0] + int(half[0]), center[1] + int(half[1]))
        cv2.rectangle(image, start, end, color, -1)
