"""NFQUEUE by hand: netlink messages in, verdicts out. Packets stay in the kernel unless a line must see them.

Message layouts: linux/netfilter/nfnetlink_queue.h. A queue number is one pair (receiver, sender), so what a packet
meets is known without looking into it; its id stands at byte 24 of each message.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

NETLINK_NETFILTER = 12
SUBSYSTEM = 3  # NFNL_SUBSYS_QUEUE
PACKET, VERDICT, CONFIG = 0, 1, 2
DROP, ACCEPT = 0, 1
NOTHING, META, CONTENT = 0, 1, 2  # what is copied to us
GSO = 4  # NFQA_CFG_F_GSO: super-packets stay whole
PAYLOAD, VERDICT_HEADER = 10, 2  # attributes
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
REQUEST, REQUEST_ACK = 1, 5

QUEUE_MAX = 100_000  # packets a queue holds in the kernel; its default of 1 024 is 50 ms at 20 000 a second
RECEIVE_BUFFER, SEND_BUFFER = 64 << 20, 16 << 20
ID_AT, ATTRIBUTES_AT, NUMBER_AT = 24, 20, 18
MESSAGE_MAX = 0x11000
IPV4_HEADER = 20


def attribute(kind: int, data: bytes) -> bytes:
    """Return a netlink attribute, padded to four bytes."""
    return struct.pack("<HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, queue: int, attributes: bytes, flags: int = REQUEST) -> bytes:
    """Return a netlink message to a queue."""
    head = struct.pack("<IHHII", 20 + len(attributes), SUBSYSTEM << 8 | kind, flags, 0, 0)
    return head + struct.pack(">BBH", 0, 0, queue) + attributes


def verdict_prefix(queue: int, verdict: int) -> bytes:
    """Return what stands before the packet's id in a verdict."""
    head = struct.pack("<IHHII", 32, SUBSYSTEM << 8 | VERDICT, REQUEST, 0, 0) + struct.pack(">BBH", 0, 0, queue)
    return head + struct.pack("<HHI", 12, VERDICT_HEADER, socket.htonl(verdict))


def verdict_with(queue: int, packet_id: bytes, content: bytes) -> bytes:
    """Return a verdict that accepts a packet with other content."""
    held = struct.pack(">I", ACCEPT) + packet_id
    return message(VERDICT, queue, attribute(VERDICT_HEADER, held) + attribute(PAYLOAD, content))


def content_of(data: memoryview) -> bytes:
    """Return the part of the packet that a message carries; b"" if it carries none."""
    at = ATTRIBUTES_AT
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("<HH", data, at)
        if kind == PAYLOAD:
            return bytes(data[at + 4 : at + length])
        at += max(4, length + 3 & ~3)
    return b""


class Queues:
    """All queues of one network namespace, over one socket made there. OSError if the kernel refuses."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        _size(self._socket, SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER)
        _size(self._socket, SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self._socket.setblocking(False)
        self._pending: list[bytes] = []
        self.fd = self._socket.fileno()
        self.receive_into = self._socket.recv_into
        self.send = self._socket.send

    def bind(self, queue: int) -> None:
        """Take a queue; PermissionError or OSError if somebody else has it."""
        self._configure(queue, attribute(1, struct.pack(">BBH", 1, 0, 0)))
        self._configure(queue, attribute(3, struct.pack(">I", QUEUE_MAX)))

    def copy(self, queue: int, size: int) -> None:
        """Have `size` bytes of each packet of a queue copied to us: 0 only its id, IPV4_HEADER, or MESSAGE_MAX.

        For whole packets the kernel cuts super-packets and finishes checksums before we see them.
        """
        flags = GSO if size <= IPV4_HEADER else 0
        how = CONTENT if size else META
        self._configure(queue, attribute(2, struct.pack(">IB", min(size, 0xFFFF), how)))
        self._configure(queue, attribute(4, struct.pack(">I", GSO)) + attribute(5, struct.pack(">I", flags)))

    def pending(self) -> list[bytes]:
        """Take the packets that came in between the answers to our own requests."""
        taken, self._pending = self._pending, []
        return taken

    def _configure(self, queue: int, attributes: bytes) -> None:
        self._socket.setblocking(True)
        try:
            self._socket.send(message(CONFIG, queue, attributes, REQUEST_ACK))
            while (answer := self._socket.recv(MESSAGE_MAX))[5] == SUBSYSTEM:
                self._pending.append(answer)
        finally:
            self._socket.setblocking(False)
        number = -struct.unpack_from("<i", answer, 16)[0]
        if number:
            raise OSError(number, f"queue {queue}: {os.strerror(number)}" + _hint(number))

    def close(self) -> None:
        """Let go of all queues; what they still hold is dropped by the kernel. Idempotent."""
        self._socket.close()


def _hint(number: int) -> str:
    return "; another program has this queue in the same namespace" if number in {errno.EBUSY, errno.EPERM} else ""


def _size(sock: socket.socket, force: int, plain: int, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:  # in a user namespace; then as much as the system allows everybody
        sock.setsockopt(socket.SOL_SOCKET, plain, size)
