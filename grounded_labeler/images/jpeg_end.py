"""JPEG files whose end is missing: whether all that makes their pixels is there."""

import re

_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# A start of frame that Pillow reads: baseline, extended or progressive; up to its components.
_FRAME = re.compile(rb"\xff[\xc0-\xc2].{7}(.)", re.DOTALL)
_SCAN_HEADER = re.compile(rb"\xff\xda..(.)", re.DOTALL)
_COEFFICIENTS = range(64)
_PADDING = 16  # zeros at least; fewer cannot make up for pixels unseen

# Ways in which coded data might go on, as long as a decoder looks ahead: 8 bytes.
# The zero after 0xff keeps that from being a marker.
_MIGHT_GO_ON = (b"\x00" * 8, b"\xff\x00" * 8, b"\xaa" * 8)


def is_without_end(data: bytes) -> bool:
    """Whether `data` is a JPEG in which no end marker follows the first scan.

    Before it there may be one: a thumbnail's. In a scan no other data looks like one.
    """
    return data.startswith(_START) and data.find(_END, _first_scan(data)) < 0


def completions(data: bytes) -> list[bytes]:
    """Make a JPEG of one without end, for each of several ways in which it might go on.

    All show the same pixels when none are missing. Raises ValueError when scans are.
    """
    data = _without_padding(data)
    scans = _whole_scans(data)
    # A decoder ends with the last pixel of a single scan: an end would make it invent pixels.
    end = _END if scans > 1 else b""
    return [data + more + end for more in _MIGHT_GO_ON]


def _without_padding(data: bytes) -> bytes:
    """Take off half an end, and the zeros that an interrupted download was filled up with."""
    bare = data.rstrip(b"\0")
    if len(data) - len(bare) < _PADDING:  # they may be part of a scan
        return data.removesuffix(b"\xff")
    return bare + b"\0" if bare.endswith(b"\xff") else bare


def _first_scan(data: bytes) -> int:
    place = len(_START)
    while data[place : place + 1] == b"\xff" and data[place : place + 2] != _SCAN:
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return place


def _whole_scans(data: bytes) -> int:
    """Count the scans that begin; ValueError unless all of every component's bits are in one."""
    first = _first_scan(data)
    # The last one: a thumbnail's may come before.
    frames = list(_FRAME.finditer(data, 0, first))
    if not frames:
        raise ValueError("no frame")
    of_frame = data[frames[-1].end() :][: 3 * frames[-1][1][0] : 3]
    wanted = {(component, k) for component in of_frame for k in _COEFFICIENTS}
    headers = list(_SCAN_HEADER.finditer(data, first))
    for header in headers:
        size = 2 * header[1][0]
        components = data[header.end() : header.end() + size : 2]
        lowest, highest, bits = data[header.end() + size :][:3]
        if bits & 0x0F == 0:  # down to the last bit
            wanted -= {(c, k) for c in components for k in range(lowest, highest + 1)}
    if wanted:
        raise ValueError("scans are missing")
    return len(headers)
