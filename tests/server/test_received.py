"""Where a request ends, however its bytes arrive."""

from http import HTTPStatus

import pytest

from grounded_labeler.server.received import MAX_HEAD_BYTES, Received

MAX_BODY = 1000
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: Chunked\r\n\r\n"
REQUESTS = {
    "no body": HEAD + b"\r\n",
    "an empty line first": b"\r\n" + HEAD + b"\r\n",
    "an empty body": HEAD + b"content-length:0\r\n\r\n",
    "a length": HEAD + b"Content-Length: 12\r\n\r\n" + b"\r\n\r\n0123\r\n\r\n",
    "as much as there may be": HEAD + b"Content-Length: 1000\r\n\r\n" + b"a" * MAX_BODY,
    "no chunks": CHUNKED + b"0\r\n\r\n",
    "chunks": CHUNKED + b"5\r\n0\r\n\r\n\r\nA \r\n0123456789\r\n0\r\n\r\n",
    "chunks with extensions and trailers": (
        CHUNKED + b'1 ;a=b;c="d"\r\n{\r\n00;last\r\nDigest: a\r\nX: b\r\n\r\n'
    ),
    "as many chunks as there may be": CHUNKED + b"1\r\na\r\n" * MAX_BODY + b"0\r\n\r\n",
}


def everything(received: Received, step: int) -> bytes:
    taken = b""
    while data := received.recv(step):
        assert len(data) <= step
        taken += data
    return taken


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 100_000])
def test_it_is_complete_with_its_last_byte(name: str, step: int) -> None:
    request = REQUESTS[name]
    received = Received(MAX_BODY)
    for at in range(0, len(request), step):
        assert not received.is_complete
        received.add(request[at : at + step])
        assert received.fault is None
    assert received.is_complete
    assert received.size == len(request)
    assert everything(received, step) == request
    assert received.recv(1) == b""


def test_what_comes_after_a_request_is_the_next_one() -> None:
    received = Received(MAX_BODY)
    received.add(b"".join(REQUESTS.values()) + HEAD)
    for request in REQUESTS.values():
        assert received.is_complete
        assert everything(received, 65_536) == request
        received.start_next()
    assert not received.is_complete
    assert received.size == len(HEAD)


def test_what_the_parser_left_of_a_request_is_not_the_next_one() -> None:
    received = Received(MAX_BODY)
    received.add(REQUESTS["a length"] + REQUESTS["no body"])
    received.recv(10)
    received.start_next()
    assert everything(received, 65_536) == REQUESTS["no body"]


def test_a_body_beyond_the_limit_is_not_waited_for() -> None:
    received = Received(MAX_BODY)
    received.add(HEAD + b"Content-Length: 1001\r\n\r\n")
    assert received.is_complete
    assert received.is_cut_short
    received.start_next()
    assert not received.is_cut_short


@pytest.mark.parametrize("expect", [b"100-continue", b"100-Continue "])
def test_who_wants_to_be_told_to_go_on(expect: bytes) -> None:
    received = Received(MAX_BODY)
    received.add(HEAD + b"Expect: " + expect + b"\r\nContent-Length: 1\r\n\r\n")
    assert received.wants_continue
    received.add(b"a")
    received.start_next()
    assert not received.wants_continue


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (HEAD + b"X: " + b"a" * MAX_HEAD_BYTES, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: 1, 1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: -1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: +1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: \xb2\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length:\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", HTTPStatus.NOT_IMPLEMENTED),
        (CHUNKED + b"\r\n", HTTPStatus.BAD_REQUEST),
        (CHUNKED + b"-1\r\n", HTTPStatus.BAD_REQUEST),
        (CHUNKED + b"0x1\r\n", HTTPStatus.BAD_REQUEST),
        (CHUNKED + b"1_0\r\n", HTTPStatus.BAD_REQUEST),
        (CHUNKED + b"1" * 17 + b"\r\n", HTTPStatus.BAD_REQUEST),
        (CHUNKED + b"1;" + b"a" * 9000, HTTPStatus.BAD_REQUEST),
        (CHUNKED + b"3e9\r\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (CHUNKED + b"1\r\na\r\n3e8\r\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (
            CHUNKED + (b"1;" + b"a" * 8000 + b"\r\na\r\n") * 20,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ),
        (CHUNKED + b"0\r\n" + b"X: a\r\n" * 30_000, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1000, 100_000])
def test_what_is_not_waited_for(sent: bytes, fault: HTTPStatus, step: int) -> None:
    received = Received(MAX_BODY)
    for at in range(0, len(sent), step):
        received.add(sent[at : at + step])
        if received.fault is not None:
            break
    assert received.fault is fault
    assert not received.is_complete


def test_a_large_body_is_read_in_large_pieces_and_never_beyond_its_end() -> None:
    received = Received(10_000_000)
    assert received.read_bytes == 65_536
    received.add(HEAD + b"Content-Length: 2000000\r\n\r\n")
    assert received.read_bytes == 1_048_576
    received.add(b"a" * 1_800_000)
    assert received.read_bytes == 200_000
