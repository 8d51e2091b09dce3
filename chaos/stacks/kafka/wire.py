"""Kafka's protocol, as little of it as questions need: one connection to one broker, one question at a time.

    size(4)  api key(2) version(2) correlation(4) client id   body          big-endian
             └─ a "flexible" version: lengths are varints of length + 1, and every struct ends in tags (KIP-482)

A client library hides what is to be seen here: it knows all brokers from any one, asks whichever answers, and
remembers. These questions get the answer of the broker that is asked. Message schemas: Kafka's sources, in
clients/src/main/resources/common/message; the versions used are those that Kafka 3.7 to 4.3 share.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

Item = TypeVar("Item")

CLIENT_ID = "chaosgate"
_LONGEST = 64 << 20


class KafkaError(Exception):
    """A broker refused (`code` is that of org.apache.kafka.common.protocol.Errors) or did not answer (`code` 0)."""

    def __init__(self, message: str, code: int = 0) -> None:
        self.code = code
        super().__init__(message)


class Wire:
    """A connection to one listener, host:port; every call ends within `timeout_s` or raises KafkaError."""

    def __init__(self, endpoint: str, *, timeout_s: float) -> None:
        self.endpoint = endpoint
        host, _, port = endpoint.rpartition(":")
        self._correlation = 0
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        except OSError as error:
            raise KafkaError(f"{endpoint}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(self, api: int, version: int, body: bytes, *, flexible: bool = False) -> Reader:
        """Return the answer's body, to be read in the order of its schema."""
        self._correlation += 1
        header = struct.pack(">hhi", api, version, self._correlation) + string(CLIENT_ID)
        message = header + (NO_TAGS if flexible else b"") + body
        try:
            self._socket.sendall(struct.pack(">i", len(message)) + message)
            answer = Reader(self._receive(self._length()))
        except OSError as error:
            raise KafkaError(f"{self.endpoint}: {error or type(error).__name__}") from error
        if answer.int32() != self._correlation:
            raise KafkaError(f"{self.endpoint}: answered another question")
        if flexible:
            answer.tags()
        return answer

    def _length(self) -> int:
        (length,) = struct.unpack(">i", self._receive(4))
        if not 0 < length <= _LONGEST:
            raise KafkaError(f"{self.endpoint}: does not speak Kafka's protocol")
        return int(length)

    def _receive(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            if not (part := self._socket.recv(size - len(got))):
                raise KafkaError(f"{self.endpoint}: closed the connection")
            got += part
        return bytes(got)


# ---------------------------------------------------------------- writing

NO_TAGS = b"\0"


def int8(value: int) -> bytes:
    """Return one byte."""
    return struct.pack(">b", value)


def int16(value: int) -> bytes:
    """Return two bytes."""
    return struct.pack(">h", value)


def int32(value: int) -> bytes:
    """Return four bytes."""
    return struct.pack(">i", value)


def int64(value: int) -> bytes:
    """Return eight bytes."""
    return struct.pack(">q", value)


def string(text: str) -> bytes:
    """Return a string with a length of two bytes."""
    data = text.encode()
    return int16(len(data)) + data


def array(items: Sequence[bytes]) -> bytes:
    """Return an array with a length of four bytes."""
    return int32(len(items)) + b"".join(items)


def uvarint(value: int) -> bytes:
    """Return an unsigned varint: seven bits a byte, the lowest first."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def compact_string(text: str) -> bytes:
    """Return a string of a flexible version."""
    data = text.encode()
    return uvarint(len(data) + 1) + data


def compact_array(items: Sequence[bytes]) -> bytes:
    """Return an array of a flexible version."""
    return uvarint(len(items) + 1) + b"".join(items)


# ---------------------------------------------------------------- reading


class Reader:
    """Bytes, read from the front; KafkaError where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) < size:
            raise KafkaError("the answer is shorter than its schema")
        self._at += size
        return part

    def int8(self) -> int:
        """Read one byte."""
        return int(struct.unpack(">b", self._take(1))[0])

    def int16(self) -> int:
        """Read two bytes."""
        return int(struct.unpack(">h", self._take(2))[0])

    def int32(self) -> int:
        """Read four bytes."""
        return int(struct.unpack(">i", self._take(4))[0])

    def int64(self) -> int:
        """Read eight bytes."""
        return int(struct.unpack(">q", self._take(8))[0])

    def string(self) -> str:
        """Read a string; "" for none."""
        return self._take(max(0, self.int16())).decode()

    def array(self, item: Callable[[], Item]) -> list[Item]:
        """Read an array, each element by `item`."""
        return [item() for _ in range(self.int32())]

    def uvarint(self) -> int:
        """Read an unsigned varint."""
        value = shift = 0
        while True:
            (byte,) = self._take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def compact_string(self) -> str:
        """Read a string of a flexible version; "" for none."""
        return self._take(max(0, self.uvarint() - 1)).decode()

    def compact_array(self, item: Callable[[], Item]) -> list[Item]:
        """Read an array of a flexible version."""
        return [item() for _ in range(self.uvarint() - 1)]

    def tags(self) -> None:
        """Skip the tags that end a struct."""
        for _ in range(self.uvarint()):
            self.uvarint()
            self._take(self.uvarint())


ERRORS: Mapping[int, str] = {
    3: "unknown topic or partition",
    5: "no leader",
    6: "not the leader",
    7: "timed out",
    8: "broker not available",
    14: "coordinator is loading",
    15: "coordinator not available",
    36: "topic exists",
    38: "too few brokers for so many replicas",
    41: "not the controller",
    74: "fenced leader epoch",
}
"""Error codes that questions meet (org.apache.kafka.common.protocol.Errors)."""


def checked(code: int, what: str, message: str = "") -> None:
    """Raise KafkaError for an error code other than 0."""
    if code:
        raise KafkaError(f"{what}: {message or ERRORS.get(code, f'error {code}')}", code)
