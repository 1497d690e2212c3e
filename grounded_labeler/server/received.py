"""Whether all of an HTTP/1.1 request has arrived, and its bytes for the parser that reads it.

Only where a request ends is told here; what it says is gunicorn's parser's to judge.
"""

import re
from collections import deque
from http import HTTPStatus

MAX_HEAD_BYTES = 65_536  # the request line and all headers; gunicorn limits each line
_MAX_LINE_BYTES = 8190  # as gunicorn's, of a chunk's size or of a trailer
_LARGEST_READ = 1_048_576
_READ = 65_536
_COUNT = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class Received:
    """The requests of one connection, one after the other, as far as they have arrived."""

    def __init__(self, max_body_bytes: int) -> None:
        """Begin with nothing; see `is_cut_short` for `max_body_bytes`."""
        self._max_body_bytes = max_body_bytes
        self._next = b""
        self.start_next()

    def start_next(self) -> None:
        """Forget the request at hand, and begin with what came after it."""
        rest, self._next = self._next, b""
        self.size = 0  # bytes of the request at hand that have arrived
        self.wants_continue = False
        # A body with a length beyond the limit is not waited for: the application refuses it
        # by that length, and what comes of it must not be taken for the next request.
        self.is_cut_short = False
        self._whole_head = b""
        self._head = bytearray()
        self._body: _Counted | _Chunked | None = None
        self._fault: HTTPStatus | None = None
        self._pieces: deque[bytes] = deque()
        if rest:
            self.add(rest)

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the request is still to come."""
        return self._body is not None and self._body.is_complete

    @property
    def head(self) -> bytes:
        """The request line and the headers, as far as they have arrived."""
        return self._whole_head or bytes(self._head)

    @property
    def fault(self) -> HTTPStatus | None:
        """Why the rest of the request is not worth waiting for."""
        if self._body is None and self._fault is None and self.size > MAX_HEAD_BYTES:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        # What stands around the chunks of a body is smaller than the body, or nobody's.
        if self.size > 2 * (self._max_body_bytes + MAX_HEAD_BYTES):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return self._fault or (self._body.fault if isinstance(self._body, _Chunked) else None)

    @property
    def read_bytes(self) -> int:
        """How many bytes to read next."""
        left = self._body.left if isinstance(self._body, _Counted) else 0
        return min(max(left, _READ), _LARGEST_READ)

    def add(self, data: bytes) -> None:
        """Add what arrived; it must not be added to a request with a fault."""
        if self._body is None:
            searched = max(0, len(self._head) - 3)
            self._head += data
            self.size = len(self._head)
            end = self._head.find(b"\r\n\r\n", searched)
            if end < 0:
                return
            head, data = bytes(self._head[: end + 4]), bytes(self._head[end + 4 :])
            self._head.clear()
            self._whole_head = head
            self._pieces.append(head)
            self.size = len(head)
            self._body = self._body_after(head)
            if self._body is None:
                return
        used = self._body.take(data)
        if used:
            self._pieces.append(data[:used])
            self.size += used
        self._next += data[used:]

    def recv(self, size: int) -> bytes:
        """The next bytes of the request, as of a socket; b"" when there are no more.

        So the parser waits for no client.
        """
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if len(piece) > size:
            self._pieces.appendleft(piece[size:])
        return piece[:size]

    def _body_after(self, head: bytes) -> "_Counted | _Chunked | None":
        """What follows `head`, None if that cannot be told: RFC 9112, section 6.3."""
        lengths: list[bytes] = []
        codings: list[bytes] = []
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            match name.strip().lower():
                case b"content-length":
                    lengths.append(value.strip())
                case b"transfer-encoding":
                    codings.append(value.strip().lower())
                case b"expect":
                    self.wants_continue = value.strip().lower() == b"100-continue"
        if len(lengths) + len(codings) > 1 or not all(map(_COUNT.fullmatch, lengths)):
            self._fault = HTTPStatus.BAD_REQUEST
            return None
        if codings:
            if codings == [b"chunked"]:
                return _Chunked(self._max_body_bytes)
            self._fault = HTTPStatus.NOT_IMPLEMENTED
            return None
        length = int(lengths[0]) if lengths else 0
        self.is_cut_short = length > self._max_body_bytes
        return _Counted(0 if self.is_cut_short else length)


class _Counted:
    """A body of `left` bytes."""

    def __init__(self, left: int) -> None:
        self.left = left

    @property
    def is_complete(self) -> bool:
        return self.left == 0

    def take(self, data: bytes) -> int:
        """Take what is of this body; returns how many bytes."""
        used = min(self.left, len(data))
        self.left -= used
        return used


class _Chunked:
    """A body in chunks, each after a line with its size: RFC 9112, section 7.1."""

    def __init__(self, max_bytes: int) -> None:
        self.is_complete = False
        self.fault: HTTPStatus | None = None
        self._bytes_left = max_bytes
        self._chunk_left = 0  # of the chunk at hand, with the line end after it
        self._line = bytearray()
        self._is_last = False

    def take(self, data: bytes) -> int:
        """Take what is of this body; returns how many bytes."""
        at = 0
        while at < len(data) and not self.is_complete and self.fault is None:
            if self._chunk_left:
                step = min(self._chunk_left, len(data) - at)
                self._chunk_left -= step
                at += step
                continue
            line_end = data.find(b"\n", at) + 1
            self._line += data[at : line_end or len(data)]
            at = line_end or len(data)
            if len(self._line) > _MAX_LINE_BYTES:
                self.fault = HTTPStatus.BAD_REQUEST
            elif line_end:
                self._end_line(bytes(self._line))
                self._line.clear()
        return at

    def _end_line(self, line: bytes) -> None:
        if self._is_last:
            self.is_complete = line == b"\r\n"
            return
        size = line.partition(b";")[0].strip()
        if not _CHUNK_SIZE.fullmatch(size):
            self.fault = HTTPStatus.BAD_REQUEST
            return
        self._chunk_left = int(size, 16)
        self._bytes_left -= self._chunk_left
        if self._bytes_left < 0:
            self.fault = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        elif self._chunk_left:
            self._chunk_left += len(b"\r\n")
        else:
            self._is_last = True
