"""The meter's packets of the moment as a capture file that Wireshark and tcpdump read.

    section ─ interface "sent" ─ interface "arrived" ─ [ packet: which of the two, when, IPv4 ─ UDP ─ our stamp ] …

A packet that a fault swallowed is there once. Only headers and stamp are kept, so the file holds nobody's data but
ours. The headers are rebuilt from what the socket knows. Format: draft-ietf-opsawg-pcapng; IPv4 and UDP: RFC 791,
RFC 768.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SENT, ARRIVED = 0, 1  # numbers of the two interfaces
NAMES = (b"sent", b"arrived")
SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6  # types of blocks
BYTE_ORDER = 0x1A2B3C4D
UNKNOWN_LENGTH = -1
LINKTYPE_RAW = 101
OPTION_NAME, OPTION_RESOLUTION, OPTION_END = 2, 9, 0
NANOSECONDS = 9
KEPT = 64


@dataclass(frozen=True, slots=True)
class Captured:
    """A packet: sent or arrived, wall-clock ns, (address, port) of both ends, start of its payload, its full size."""

    where: int
    at_ns: int
    source: tuple[str, int]
    sink: tuple[str, int]
    payload: bytes
    size: int  # of the whole payload


def render(packets: Iterable[Captured]) -> bytes:
    """Return a whole capture file, in the order of time."""
    section = _block(SECTION, struct.pack("<IHHq", BYTE_ORDER, 1, 0, UNKNOWN_LENGTH))
    interfaces = b"".join(_interface(name) for name in NAMES)
    return section + interfaces + b"".join(_packet(one) for one in sorted(packets, key=lambda one: one.at_ns))


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


def _interface(name: bytes) -> bytes:
    options = _option(OPTION_NAME, name) + _option(OPTION_RESOLUTION, bytes((NANOSECONDS,))) + _option(OPTION_END, b"")
    return _block(INTERFACE, struct.pack("<HHI", LINKTYPE_RAW, 0, KEPT) + options)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _packet(one: Captured) -> bytes:
    data = (_ip(one) + _udp(one) + one.payload)[:KEPT]
    high, low = divmod(one.at_ns, 1 << 32)
    return _block(PACKET, struct.pack("<IIIII", one.where, high, low, len(data), 28 + one.size) + data)


def _udp(packet: Captured) -> bytes:
    return struct.pack("!HHHH", packet.source[1], packet.sink[1], 8 + packet.size, 0)


def _ip(packet: Captured) -> bytes:
    addresses = socket.inet_aton(packet.source[0]) + socket.inet_aton(packet.sink[0])
    bare = struct.pack("!BBHHHBBH", 0x45, 0, 28 + packet.size, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    return bare[:10] + struct.pack("!H", checksum(bare)) + bare[12:]


def checksum(header: bytes) -> int:
    """Return the internet checksum of a header of even length (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
