"""Whether whoever sent a request still waits for the answer."""

import select
import socket

from grounded_labeler.inference.backend import Cancelled, never_cancelled


def client_disconnected(connection: socket.socket | None) -> Cancelled:
    """A function for any thread that says whether the other end of `connection` has been closed.

    `connection` is what gunicorn has of the request, None under a server that does not
    tell. A caller that has closed only its sending side counts as gone, too.
    """
    if connection is None:
        return never_cancelled

    def cancelled() -> bool:
        # One of its own each time: a second thread that polls the same one gets an error.
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        return bool(poll.poll(0))

    return cancelled
