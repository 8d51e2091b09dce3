"""The meter's packets of the moment as a capture file that Wireshark and tcpdump read.

    file header (nanosecond magic, LINKTYPE_RAW) ─ [ record header ─ IPv4 ─ UDP ─ our stamp ] …

Only headers and stamp are kept, so the file holds nobody's data but ours. The headers are rebuilt from what the
socket knows. Format: draft-ietf-opsawg-pcap; IPv4 and UDP: RFC 791, RFC 768.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC_NS = 0xA1B23C4D
LINKTYPE_RAW = 101
KEPT = 64
NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Captured:
    """A packet as it arrived: wall-clock ns, (address, port) of both ends, the start of its payload, its full size."""

    at_ns: int
    source: tuple[str, int]
    sink: tuple[str, int]
    payload: bytes
    size: int  # of the whole payload


def render(packets: Iterable[Captured]) -> bytes:
    """Return a whole capture file."""
    header = struct.pack("<IHHiIII", MAGIC_NS, 2, 4, 0, 0, KEPT, LINKTYPE_RAW)
    return header + b"".join(_record(packet) for packet in packets)


def _record(packet: Captured) -> bytes:
    data = (_ip(packet) + _udp(packet) + packet.payload)[:KEPT]
    seconds, rest = divmod(packet.at_ns, NS)
    return struct.pack("<IIII", seconds, rest, len(data), 28 + packet.size) + data


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
