"""An application beside which threads compute, as models that load do."""

import threading

import torch
from werkzeug import Request, Response


def _compute() -> None:
    ones = torch.ones(1000, 1000)
    while True:
        ones @ ones


for _ in range(2):
    threading.Thread(target=_compute, daemon=True).start()


@Request.application
def app(_request: Request) -> Response:
    return Response("here")
