r"""etcd's key-value messages, as protobuf bytes.

    put_request("a", "1") ─▶ b"\n\x01a\x12\x011"        b"\n\x12…" ─▶ read_put ─▶ revision

Field numbers are those of etcd's api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto, equal in 3.4, 3.5 and 3.6; the
encoding is https://protobuf.dev/programming-guides/encoding/. Only what the generator sends and reads is here;
fields it does not know are skipped, as every protobuf reader does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PUT = "/etcdserverpb.KV/Put"
RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_EQUAL, _VERSION, _VALUE = 0, 0, 3  # Compare.result EQUAL; Compare.target VERSION and VALUE
SERIALIZABLE = b"\x38\x01"  # RangeRequest.serializable (field 7) = true


class MessageError(ValueError):
    """Bytes that are no protobuf message of the expected kind."""


class KeyValue(NamedTuple):
    """A key as a member has it."""

    key: str
    value: str
    mod_revision: int


class Range(NamedTuple):
    """An answer to a range request: the store's revision, and the keys found."""

    revision: int
    found: tuple[KeyValue, ...]

    @property
    def value(self) -> str | None:
        """Return the value of the one key that was asked for; None: absent."""
        return self.found[0].value if self.found else None


class Txn(NamedTuple):
    """An answer to a transaction: which branch ran, and the answers of its range requests, in order."""

    revision: int
    succeeded: bool
    ranges: tuple[Range, ...]


# ---------------------------------------------------------------- writing


def varint(number: int) -> bytes:
    """Return a number ≥ 0 as a base-128 varint."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, data: bytes) -> bytes:
    """Return a length-delimited field."""
    return varint(number << 3 | _BYTES) + varint(len(data)) + data


def put_request(key: str, value: str) -> bytes:
    """PutRequest: key = 1, value = 2."""
    return field(1, key.encode()) + field(2, value.encode())


def range_request(key: str, *, serializable: bool = False) -> bytes:
    """RangeRequest of one key: key = 1, serializable = 7."""
    return field(1, key.encode()) + (SERIALIZABLE if serializable else b"")


def swap_request(key: str, expect: str | None, value: str) -> bytes:
    """TxnRequest: if the key's value is `expect` (None: the key is absent) put `value`, else read the key."""
    compare, success, failure = _compare(key, expect), put_request(key, value), range_request(key)
    return field(1, compare) + field(2, field(2, success)) + field(3, field(1, failure))


def _compare(key: str, expect: str | None) -> bytes:
    """Return a Compare: result = 1, target = 2, key = 3, version = 4, value = 7. Absent is version 0."""
    named = field(3, key.encode())
    if expect is None:
        return bytes((1 << 3, _EQUAL, 2 << 3, _VERSION)) + named + bytes((4 << 3, 0))
    return bytes((1 << 3, _EQUAL, 2 << 3, _VALUE)) + named + field(7, expect.encode())


def puts_request(puts: Iterable[tuple[str, str]], *, condition: bytes = b"") -> bytes:
    """TxnRequest that puts every pair if `condition` holds, else does nothing; etcd refuses a key named twice."""
    return condition + b"".join(field(2, field(2, put_request(key, value))) for key, value in puts)


def all_absent(keys: Iterable[str]) -> bytes:
    """Return a TxnRequest's condition: none of these keys exists."""
    return b"".join(field(1, _compare(key, None)) for key in keys)


def ranges_request(keys: Iterable[str]) -> bytes:
    """TxnRequest without a condition that reads every key, linearizably; at most 128 by etcd's --max-txn-ops."""
    return b"".join(field(2, field(1, range_request(key))) for key in keys)


def authenticate_request(name: str, password: str) -> bytes:
    """AuthenticateRequest: name = 1, password = 2."""
    return field(1, name.encode()) + field(2, password.encode())


# ---------------------------------------------------------------- reading


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of each field; MessageError if the bytes are torn."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _number(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _number(data, at)
            yield tag >> 3, value
            continue
        size, at = _number(data, at) if kind == _BYTES else (_fixed(kind), at)
        if at + size > end:
            raise MessageError(f"field {tag >> 3} wants {size} bytes, {end - at} are left")
        yield tag >> 3, data[at : at + size]
        at += size


def _fixed(kind: int) -> int:
    if kind not in {_FIXED64, _FIXED32}:
        raise MessageError(f"wire type {kind}")
    return 8 if kind == _FIXED64 else 4


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint and the index behind it."""
    try:
        byte = data[at]
        if byte < 0x80:
            return byte, at + 1
        number, shift = byte & 0x7F, 7
        while True:
            at += 1
            byte = data[at]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number, at + 1
            shift += 7
    except IndexError:
        raise MessageError("a varint is cut short") from None


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise MessageError(f"a number, {value}, where a text or message belongs")
    return value


def _revision(header: bytes) -> int:
    """ResponseHeader: cluster_id = 1, member_id = 2, revision = 3, raft_term = 4."""
    for number, value in fields(header):
        if number == 3 and isinstance(value, int):
            return value
    return 0


def read_put(data: bytes) -> int:
    """PutResponse: header = 1. Return the revision of the put."""
    for number, value in fields(data):
        if number == 1:
            return _revision(_bytes(value))
    raise MessageError("a PutResponse without header")


def read_range(data: bytes) -> Range:
    """RangeResponse: header = 1, kvs = 2."""
    revision, found = 0, []
    for number, value in fields(data):
        if number == 1:
            revision = _revision(_bytes(value))
        elif number == 2:
            found.append(_key_value(_bytes(value)))
    return Range(revision, tuple(found))


def _key_value(data: bytes) -> KeyValue:
    """KeyValue: key = 1, mod_revision = 3, value = 5."""
    key, value, revision = b"", b"", 0
    for number, content in fields(data):
        if number == 1:
            key = _bytes(content)
        elif number == 5:
            value = _bytes(content)
        elif number == 3 and isinstance(content, int):
            revision = content
    return KeyValue(key.decode(errors="backslashreplace"), value.decode(errors="backslashreplace"), revision)


def read_txn(data: bytes) -> Txn:
    """TxnResponse: header = 1, succeeded = 2, responses = 3 of ResponseOp: response_range = 1."""
    revision, succeeded, ranges = 0, False, []
    for number, value in fields(data):
        if number == 1:
            revision = _revision(_bytes(value))
        elif number == 2:
            succeeded = bool(value)
        elif number == 3:
            ranges += [read_range(_bytes(answer)) for kind, answer in fields(_bytes(value)) if kind == 1]
    return Txn(revision, succeeded, tuple(ranges))


def read_token(data: bytes) -> str:
    """AuthenticateResponse: token = 2."""
    for number, value in fields(data):
        if number == 2:
            return _bytes(value).decode(errors="backslashreplace")
    raise MessageError("an AuthenticateResponse without token")


def put_response(revision: int) -> bytes:
    """PutResponse with nothing but a header's revision: what a server that lies would send."""
    return field(1, b"\x18" + varint(revision))
