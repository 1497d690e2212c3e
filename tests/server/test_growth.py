"""The real server's memory does not grow with the number of requests, whatever they are."""

import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import RecordFigure
from tests.helpers.asking import HAND_DRAWN, TUTORIAL, body, typed
from tests.helpers.serving import BOXES, KINDS, Server, drawn, is_right, send, served

pytestmark = pytest.mark.slow

REQUESTS, FIRST, CLIENTS = 2000, 200, 4
FEWER = 600  # requests without --soak
MOST_GROWTH = 0.05
SIZES_WH = ((96, 72), (320, 240), (240, 320), (640, 480), (480, 640))
BROKEN = drawn("square")[:-100]


def boxes_and_masks(server: Server, number: int) -> None:
    """On images of several sizes."""
    turn = number // len(MIX)
    kind, size_wh = KINDS[turn % len(KINDS)], SIZES_WH[turn % len(SIZES_WH)]
    config = TUTORIAL if number % 2 else BOXES
    request = body([drawn(kind, size_wh)], typed(kind), config) | {"project": "typed"}
    answer = server.post("/predict", request)
    assert answer.status_code == 200, answer.text
    if size_wh == SIZES_WH[0] and config == BOXES:
        assert is_right(answer.json()["results"][0], kind)


def a_batch(server: Server, number: int) -> None:
    request = body([drawn(kind) for kind in KINDS], None, BOXES) | {"project": "batches"}
    answers = server.post("/predict", request).json()["results"]
    assert all(map(is_right, answers, KINDS))


def a_broken_image(server: Server, number: int) -> None:
    [answer] = server.post("/predict", body([BROKEN], None, BOXES)).json()["results"]
    assert "result" not in answer


def an_address_that_is_refused(server: Server, number: int) -> None:
    image = f"http://127.0.0.{number % 250}:{number + 1}/{number}.png"
    [answer] = server.post("/predict", body([image], None, BOXES)).json()["results"]
    assert "private address" in answer["error"]


def wrong_json(server: Server, number: int) -> None:
    answer = send("POST", f"{server.url}/predict", data=b'{"tasks": [' * (number % 1000))
    assert answer.status_code == 400


def another_project(server: Server, number: int) -> None:
    project = {"project": f"{number}.17", "hostname": f"http://studio-{number}.example"}
    assert server.post("/setup", project | {"schema": BOXES}).status_code == 200


def a_prompt_saved(server: Server, number: int) -> None:
    event = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": number, "label_config": BOXES},
        "annotation": {"result": [*typed(f"prompt {number}")["result"], HAND_DRAWN]},
    }
    assert server.post("/webhook", event).status_code == 200


def watched(path: str) -> Callable[[Server, int], None]:
    def watch(server: Server, number: int) -> None:
        assert server.get(path).status_code == 200

    return watch


MIX: tuple[Callable[[Server, int], None], ...] = (
    *[boxes_and_masks] * 4,
    a_batch,
    a_broken_image,
    *[an_address_that_is_refused] * 2,
    *[wrong_json] * 2,
    *[another_project] * 3,
    *[a_prompt_saved] * 3,
    watched("/versions"),
    watched("/metrics"),
    *[watched("/health")] * 2,
)


def resident_mib(pid: int) -> float:
    """The median of some looks at the memory that the process occupies."""
    looks = []
    for _ in range(5):
        status = Path(f"/proc/{pid}/status").read_text()
        [kib] = re.findall(r"VmRSS:\s+(\d+) kB", status)
        looks.append(int(kib) / 1024)
        time.sleep(0.02)
    return statistics.median(looks)


def test_memory_does_not_grow_with_requests(
    tmp_path: Path, soak: bool, record_figure: RecordFigure
) -> None:
    requests = REQUESTS if soak else FEWER
    with served(tmp_path, "_wsgi:app") as server, ThreadPoolExecutor(CLIENTS) as clients:
        [worker] = server.workers
        sizes = []
        for first in range(0, requests, FIRST):
            asking = [
                clients.submit(MIX[number % len(MIX)], server, number)
                for number in range(first, first + FIRST)
            ]
            for asked in asking:
                asked.result()
            sizes.append(resident_mib(worker))
        assert server.workers == [worker]
    growth = statistics.median(sizes[1:][-3:]) / sizes[0] - 1
    figures = f"{growth:.1%}; MiB after each {FIRST}: {', '.join(f'{s:.0f}' for s in sizes)}"
    record_figure(f"growth of memory over {requests} requests", figures)
    assert growth < MOST_GROWTH, figures
