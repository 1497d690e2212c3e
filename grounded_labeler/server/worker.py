"""gunicorn's threaded worker, whose threads take only requests that have arrived.

gunicorn's own threads wait for the bytes of the requests they read, and its main loop for the
client to hang up: a few clients that send half a request, or do not close, stop all others.
Here the main loop reads whatever comes from whomever, without waiting, hands a request to a
thread once it is complete, and cuts off whoever takes too long.
"""

import logging
import selectors
import signal
import socket
import ssl
import sys
import time
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.gthread import ThreadWorker

from grounded_labeler.errors import CallerGone, GroundedLabelerError, NotReady, Refused
from grounded_labeler.inference.backend import BackendState
from grounded_labeler.server.connection import Connection
from grounded_labeler.server.received import Received
from grounded_labeler.server.refusals import ReadBody, answer, refusal_after, refusal_for

_KEEP_UP_BYTES = 524_288
_LINGER_S = 2.0  # as long as gunicorn's, after the last response and for idle ones at the end
# Requests above the size of a small one take as much memory together as so many of the largest.
_MOST_LARGEST = 4


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """It lets go of the port at once when it is told to stop, and is replaced with its models.

    That is when these are stuck, their thread has ended, or the cluster that has them is gone.
    """

    # A request has so long to arrive, and as long again for each further half a MiB.
    arrival_s: ClassVar[float] = 30.0
    max_body_bytes: ClassVar[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's
        super().__init__(*args, **kwargs)
        # Those that the poller watches, in the order in which they last were given time.
        self._watched: dict[Connection, None] = {}
        self._bytes = 0  # that requests larger than a small one take
        self._next_look = 0.0
        self._was_full = False

    @classmethod
    def check_config(cls, cfg: Any, log: logging.Logger) -> None:  # noqa: ANN401 - gunicorn's
        """Refuse what tells where a request ends in another way than HTTP/1.1 does."""
        super().check_config(cfg, log)
        if cfg.protocol != "http" or "h2" in cfg.http_protocols:
            sys.exit("This service speaks HTTP/1.1 only: leave --protocol and --http-protocols.")
        if cfg.proxy_protocol not in ("off", "v1"):
            sys.exit(
                "Of the PROXY protocol this service reads version 1 only: --proxy-protocol v1."
            )

    # Connections, all in the main loop

    def accept(self, listener: socket.socket) -> None:
        """Take a connection; where there are too many, the one that waits longest is cut off."""
        try:
            client_socket, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        try:
            received = Received(self.max_body_bytes)
            name = listener.getsockname()
            conn = Connection(self.cfg, client_socket, client, name, received)
        except OSError as error:  # gone, or a certificate that cannot be read
            self.log.warning("TLS could not begin with %s: %s", client, error)
            client_socket.close()
            return
        self.nr_conns += 1
        if self.nr_conns > self.worker_connections - self.cfg.threads and self._watched:
            if not self._was_full:
                self._was_full = True  # once: it may go on like this
                self.log.warning(
                    "More connections than %s: those that wait longest are closed.",
                    self.worker_connections - self.cfg.threads,
                )
            self._cut_off(next(iter(self._watched)))
        self._watch(conn, self.arrival_s)
        self._on_ready(conn, None)  # most requests are here already

    def finish_request(self, conn: Connection, future: "Future[Any]") -> None:
        """Wait for the next request of a connection whose response has been sent."""
        self._count(conn, -1)
        if future.cancelled() or future.exception() is not None or not future.result():
            self._let_go(conn)
            return
        conn.sock.setblocking(False)
        conn.received.start_next()
        self._count(conn, 1)
        if conn.received.size:  # the next one came with it
            self._watch(conn, self.arrival_s)
            self._go_on(conn)
        else:
            self._watch(conn, self.cfg.keepalive if self.alive else _LINGER_S)

    def murder_keepalived(self, force: bool = False) -> None:
        """Cut off those whose time is over; gunicorn calls it after each look at the poller."""
        now = time.monotonic()
        if force or now < self._next_look:  # the process ends, and its connections with it
            return
        self._next_look = now + min(1.0, self.arrival_s / 4)
        for conn in [conn for conn in self._watched if conn.timeout <= now]:
            if conn.has_begun:
                sentence = (
                    "The request did not arrive: after"
                    f" {self.arrival_s:g} s there were {conn.received.size} bytes of it."
                )
                self._refuse(conn, Refused(HTTPStatus.REQUEST_TIMEOUT, sentence))
            else:
                self._close(conn)

    def _watch(self, conn: Connection, seconds: float) -> None:
        """Wait for what `conn` sends, for so long."""
        conn.timeout = time.monotonic() + seconds
        conn.kept_up = conn.received.size
        self._watched[conn] = None
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_ready, conn))

    def _unwatch(self, conn: Connection) -> None:
        del self._watched[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        """Let go of a connection that is watched, now."""
        self._unwatch(conn)
        self._count(conn, -1)
        self.nr_conns -= 1
        conn.close()

    def _on_ready(self, conn: Connection, _: object) -> None:
        """Read what there is of a connection."""
        if conn not in self._watched:  # closed since the poller told of it
            return
        received = conn.received
        data = conn.read()
        if data is None:
            return
        if not data:
            if conn.has_begun:
                self._answer(conn, CallerGone())  # nobody reads it: for the log and the figures
            self._close(conn)
        elif not conn.is_leaving:
            if not received.size:
                conn.timeout = time.monotonic() + self.arrival_s
            self._count(conn, -1)
            received.add(data)
            self._count(conn, 1)
            self._go_on(conn)

    def _go_on(self, conn: Connection) -> None:
        """Hand a request that is complete to a thread, and see that others do not grow."""
        received = conn.received
        if received.is_complete:
            self._unwatch(conn)
            conn.data_ready = True
            self.enqueue_req(conn)
        elif (fault := received.fault) is not None:
            self._refuse(conn, refusal_for(fault))
        elif self._bytes > _MOST_LARGEST * self.max_body_bytes and conn.is_large:
            self._refuse(conn, NotReady("Too many large requests are arriving: try again."))
        else:
            conn.let_continue()
            if received.size - conn.kept_up >= _KEEP_UP_BYTES:
                conn.kept_up = received.size
                conn.timeout = time.monotonic() + self.arrival_s

    def _count(self, conn: Connection, sign: int) -> None:
        if conn.is_large:
            self._bytes += sign * conn.received.size

    def _answer(self, conn: Connection, error: GroundedLabelerError) -> None:
        """Have the application answer with `error`, which takes about a millisecond."""
        self.log.debug("%s is refused: %s", conn.client, error)
        answer(self.wsgi, conn.sock, self.cfg, conn.received.head, error)

    def _refuse(self, conn: Connection, error: GroundedLabelerError) -> None:
        """Answer a request that is not complete, and let go of its connection."""
        self._answer(conn, error)
        self._unwatch(conn)
        self._count(conn, -1)
        self._let_go(conn)

    def _cut_off(self, conn: Connection) -> None:
        """Close a connection for a new one, at once; who has sent something is told."""
        if conn.has_begun:
            self._answer(conn, NotReady("Too many connections are open: try again."))
        self._close(conn)

    def _let_go(self, conn: Connection) -> None:
        """Say that nothing more comes, and read on for a moment.

        Closed at once, with something unread, the client may lose the response that was sent:
        RFC 9112, section 9.6.
        """
        conn.received = Received(0)  # its bytes are not needed any more
        conn.is_leaving = True
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.nr_conns -= 1
            conn.close()
            return
        self._watch(conn, _LINGER_S)

    # One request, in a thread

    def handle(self, conn: Connection) -> bool:
        """Have the application answer a request; whether another one may follow it.

        gunicorn's own does more, for HTTP/2, and answers what it cannot read in a form of its own.
        """
        # As long as the longest request: Label Studio has gone then.
        conn.sock.settimeout(self.cfg.graceful_timeout)
        try:
            request = next(conn.parser)
        except (NoMoreData, ParseException) as error:
            self._answer(conn, refusal_after(error))
            return False
        try:
            return bool(self._keepalive_after(conn, self.handle_request(request, conn)))
        except StopIteration:  # it failed with half a response sent
            pass
        except TimeoutError:
            self.log.warning("%s did not take the response in time.", conn.client)
        except (ConnectionError, ssl.SSLError) as error:
            self.log.debug("%s is gone: %s", conn.client, error)
        except Exception:
            self.log.exception("A request failed outside the application.")
            failed = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed: see its log.")
            self._answer(conn, failed)
        return False

    def handle_request(self, req: Any, conn: Connection) -> bool:  # noqa: ANN401 - gunicorn's
        """Hand a request to the application."""
        req._expected_100_continue = False  # its body is here
        if conn.received.is_cut_short:
            req.force_close()
        req.body.reader = ReadBody(req)
        return bool(super().handle_request(req, conn))

    # The process

    def set_accept_enabled(self, enabled: bool) -> None:
        """Told to stop, close the port now, not after the last request.

        Closed, not shut down: after a reload the port is the new workers'.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()
            soon = time.monotonic() + _LINGER_S
            for conn in self._watched:
                if not conn.received.size:
                    conn.timeout = min(conn.timeout, soon)

    def handle_quit(self, sig: int, frame: object) -> None:
        """Told to end at once, do so once.

        Ctrl-C comes from the terminal, then from the master: the second one would break into
        what the first one ends with. The threads are not told here, as gunicorn's own does: a
        signal may come while this very thread holds the lock of their pool, and would wait
        for itself. They are told once it has let go.
        """
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: None)  # Python complains of SIG_IGN set just now
        super(ThreadWorker, self).handle_quit(sig, frame)

    def notify(self) -> None:
        """No sign of life while the models are stuck: the master replaces this worker then."""
        service = getattr(self.wsgi, "extensions", {}).get("grounded_labeler")
        state = None if service is None else service.backend.state
        if state is BackendState.LOST:
            self.alive = False  # it ends what it has, and a new one takes its place
        if state is not BackendState.STUCK:
            super().notify()
