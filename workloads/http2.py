"""The part of HTTP/2 that one unary call needs: frames (RFC 9113) and header blocks (RFC 7541).

    client  PREFACE SETTINGS │ HEADERS DATA(end)                       │ HEADERS DATA(end) …
    server          SETTINGS │                 HEADERS DATA HEADERS(end) │                 …

Requests use literal header fields without indexing, so a request's header block is a constant and the server's
decoder keeps no state of ours. Answers are decoded by the hpack library; a block that consists of indexed fields
only (the common case: two bytes) changes no decoder state and is looked up instead.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from hpack import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Frame types, RFC 9113 §6.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

# Flags; ACK and END_STREAM share a bit on different frames.
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

# Settings, RFC 9113 §6.5.2.
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5

REFUSED_STREAM = 0x7  # error code: "refused prior to performing any application processing", RFC 9113 §8.7
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384

_HEAD = struct.Struct(">HBBBI")
_HEAD_BYTES = _HEAD.size
_SETTING = struct.Struct(">HI")
_INDEXED = 0x80  # first bit of an indexed header field, RFC 7541 §6.1
_INDEX_FOLLOWS = 0xFF  # an index that needs more bytes than this one


class Frame(NamedTuple):
    """One frame as it was read; a tuple because thousands are made a second."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class ProtocolError(Exception):
    """The peer does not speak HTTP/2 as RFC 9113 has it."""


def pack(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def pack_settings(settings: Mapping[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return pack(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in settings.items()))


def unpack_settings(payload: bytes) -> dict[int, int]:
    """Return the settings of a SETTINGS frame; ProtocolError if it is torn."""
    if len(payload) % _SETTING.size:
        raise ProtocolError(f"SETTINGS frame of {len(payload)} bytes; settings have 6 bytes each")
    return dict(_SETTING.iter_unpack(payload))


def pack_window(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return pack(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def literals(headers: Iterable[tuple[str, str]]) -> bytes:
    """Encode a header block of literals without indexing, RFC 7541 §6.2.2: the same bytes on every connection."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def _text(text: str) -> bytes:
    data = text.encode()
    return _length(len(data)) + data


def _length(size: int) -> bytes:
    """Return an integer with a 7-bit prefix, RFC 7541 §5.1; the first bit, Huffman, stays 0."""
    if size < 0x7F:
        return bytes((size,))
    rest, out = size - 0x7F, bytearray((0x7F,))
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


class FrameReader:
    """Bytes in as they come, whole frames out."""

    def __init__(self, limit: int = DEFAULT_FRAME) -> None:
        self._limit = limit
        self._data = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._data = self._data[self._at :] + data
        self._at = 0

    def next(self) -> Frame | None:
        """Return the next whole frame, or None; ProtocolError for one larger than was allowed."""
        body = self._at + _HEAD_BYTES
        if len(self._data) < body:
            return None
        high, low, kind, flags, stream = _HEAD.unpack_from(self._data, self._at)
        size = high << 8 | low
        if size > self._limit:
            raise ProtocolError(f"frame of {size} bytes; at most {self._limit} were allowed")
        if len(self._data) < body + size:
            return None
        self._at = body + size
        return Frame(kind, flags, stream & 0x7FFFFFFF, self._data[body : self._at])


class HeaderBlocks:
    """Decodes the answers' header blocks of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._seen: dict[bytes, Mapping[str, str]] = {}

    def decode(self, block: bytes) -> Mapping[str, str]:
        """Return name → value; hpack.HPACKError for a broken block."""
        if (seen := self._seen.get(block)) is not None:
            return seen
        headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
        if all(_INDEXED <= byte < _INDEX_FOLLOWS for byte in block):
            self._seen[block] = headers
        else:
            self._seen.clear()  # the dynamic table may have moved, and with it what an index stands for
        return headers


def unpadded(frame: Frame) -> bytes:
    """Return a DATA or HEADERS frame's payload without padding and priority; ProtocolError if torn."""
    payload = frame.payload
    if frame.flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise ProtocolError("padding is longer than its frame")
        payload = payload[1 : len(payload) - payload[0]]
    if frame.kind == HEADERS and frame.flags & PRIORITIZED:
        payload = payload[5:]
    return payload
