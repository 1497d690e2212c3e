"""A client's connection, read without waiting."""

import socket
import ssl
from contextlib import suppress
from typing import Any

from gunicorn.http import get_parser
from gunicorn.sock import ssl_context
from gunicorn.workers.gthread import TConn

from grounded_labeler.server.received import Received

# Small requests, as those of probes and of typed prompts, always find room.
_SMALL_BYTES = 65_536


class Connection(TConn):  # type: ignore[misc]  # gunicorn is untyped
    """A client's; `timeout` is when, by the monotonic clock, it is cut off."""

    def __init__(
        self,
        cfg: Any,  # noqa: ANN401 - gunicorn's
        client_socket: socket.socket,
        client: object,
        server: object,
        received: Received,
    ) -> None:
        super().__init__(cfg, client_socket, client, server)
        self.sock: socket.socket
        if cfg.is_ssl:  # reading shakes hands first
            self.sock = ssl_context(cfg).wrap_socket(
                self.sock,
                server_side=True,
                suppress_ragged_eofs=cfg.suppress_ragged_eofs,
                do_handshake_on_connect=False,
            )
        self.initialized = True  # gunicorn would wait for the handshake
        self.received = received
        self.parser = get_parser(cfg, received, client)
        self.is_leaving = False
        self.kept_up = 0  # bytes of the request that had come when `timeout` was last set

    @property
    def has_begun(self) -> bool:
        """Whether something of a request has arrived that nobody has answered."""
        return self.received.size > 0 and not self.is_leaving

    @property
    def is_large(self) -> bool:
        """Whether the request at hand is larger than a small one, as far as it has arrived."""
        return self.received.size > _SMALL_BYTES

    def read(self) -> bytes | None:
        """Return what there is to read: None if that is nothing, b"" if the client has gone."""
        try:
            data = self.sock.recv(self.received.read_bytes)
            while isinstance(self.sock, ssl.SSLSocket) and (more := self.sock.pending()):
                data += self.sock.recv(more)  # the poller does not know of these
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            return None  # a handshake's few bytes fit; if ever not, its time ends
        except OSError:
            return b""
        return data

    def let_continue(self) -> None:
        """Tell a client to send the body, if it waits to be told."""
        if self.received.wants_continue:
            self.received.wants_continue = False
            with suppress(OSError):
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
