"""A small network of our own for the shaper's tests: nodes on a bridge, in namespaces that end with this process.

node 1 ─ eth0 ─ p1 ┐
node 2 ─ eth0 ─ p2 ┼─ br0 (hub)          standard library only: also run by other users and inside a guest
node 3 ─ eth0 ─ p3 ┘
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import statistics
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from chaos.agent.shaper.kernel import CLONE_NEWNET, entered, libc
from chaos.agent.shaper.values import Port

STAMP = struct.Struct("<QQI")


def new_namespace() -> int:
    """Return a descriptor of a fresh network namespace; it lives as long as the descriptor or a process in it."""
    made: list[int] = []

    def make() -> None:
        if libc.unshare(CLONE_NEWNET) == 0:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise PermissionError("no network namespace can be made: root or a user namespace is needed")
    return made[0]


class ShaperLab:
    """`nodes` nodes with addresses 10.99.0.1, .2, …"""

    def __init__(self, nodes: int = 3) -> None:
        self.hub = new_namespace()
        self.nodes = [new_namespace() for _ in range(nodes)]
        self.ports = [self._port(index) for index in range(nodes)]
        self._build()

    def _port(self, index: int) -> Port:
        return Port(
            node=f"n{index + 1}",
            address=f"10.99.0.{index + 1}",
            hub_netns=self.hub,
            hub_ifname=f"p{index + 1}",
            node_netns=self.nodes[index],
            node_ifname="eth0",
        )

    def _build(self) -> None:
        self.ip(self.hub, "link add br0 type bridge\nlink set br0 up")
        for port in self.ports:
            path = f"/proc/{os.getpid()}/fd/{port.node_netns}"
            name = port.hub_ifname
            self.ip(self.hub, f"link add {name} type veth peer name eth0 netns {path}")
            self.ip(self.hub, f"link set {name} master br0\nlink set {name} up")
            self.ip(port.node_netns, f"link set lo up\nlink set eth0 up\naddr add {port.address}/24 dev eth0")

    def ip(self, netns: int, lines: str) -> None:
        self.run(netns, ["ip", "-batch", "-"], lines + "\n")

    def run(self, netns: int, argv: list[str], text: str = "", *, check: bool = True) -> str:
        with entered(netns):
            done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=20, check=False)
        if check and done.returncode:
            raise AssertionError(f"{argv} {text!r}: {done.stderr}")
        return done.stdout

    def close(self) -> None:
        for fd in (*self.nodes, self.hub):
            with contextlib.suppress(OSError):
                os.close(fd)

    def address(self, node: str) -> str:
        return next(port.address for port in self.ports if port.node == node)

    def namespace(self, node: str) -> int:
        return next(port.node_netns for port in self.ports if port.node == node)

    def socket(self, node: str, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        with entered(self.namespace(node)):
            return socket.socket(socket.AF_INET, kind)

    def snapshot(self) -> dict[str, str]:
        """Return all that a shaper could leave behind: links, qdiscs and nft tables of each namespace."""
        seen = {}
        for name, netns in [("hub", self.hub), *((port.node, port.node_netns) for port in self.ports)]:
            links = sorted(link["ifname"] for link in json.loads(self.run(netns, ["ip", "-j", "link"])))
            qdiscs = sorted(
                (qdisc["dev"], qdisc["kind"], qdisc["handle"])
                for qdisc in json.loads(self.run(netns, ["tc", "-j", "qdisc"]))
            )
            seen[name] = f"{links} {qdiscs} {self.run(netns, ['nft', 'list', 'tables'], check=False)}"
        return seen

    # ------------------------------------------------------------ traffic

    def flow(
        self, source: str, target: str, *, count: int = 60, gap_s: float = 0.003, size: int = 100, wait_s: float = 0.3
    ) -> Flow:
        """Send `count` datagrams and note what arrives until `wait_s` after the last; one thread, one clock."""
        with on_one_processor(), self.socket(source) as sender, self.socket(target) as receiver:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            receiver.bind((self.address(target), 0))
            receiver.setblocking(False)
            sender.connect(receiver.getsockname())
            return _exchange(sender, receiver, count, round(gap_s * 1e9), bytes(size), round(wait_s * 1e9))

    def connection(self, source: str, target: str) -> Connection:
        """Return a TCP connection, its far end answered by a thread with a hash of what it got."""
        return Connection(self, source, target)


@contextlib.contextmanager
def on_one_processor():
    """Keep the thread on one processor: veth has a queue for each that sends, and two of them keep no common order."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


@dataclass
class Flow:
    """What was sent and what arrived."""

    sent: int = 0
    refused: int = 0  # sendto said no: a fault must never show on the sender's side
    arrivals: list[tuple[int, int]] = field(default_factory=list)  # (sequence number, one-way delay in ns)
    damaged: int = 0

    @property
    def delays_ms(self) -> list[float]:
        return [delay / 1e6 for _, delay in self.arrivals]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.delays_ms)

    @property
    def sequence(self) -> list[int]:
        return [number for number, _ in self.arrivals]

    @property
    def lost_share(self) -> float:
        return 1 - len(set(self.sequence)) / self.sent

    def gaps(self) -> list[int]:
        """Lengths of the runs of lost packets."""
        got = set(self.sequence)
        runs, length = [], 0
        for number in range(self.sent):
            if number in got:
                runs += [length] if length else []
                length = 0
            else:
                length += 1
        return runs


def _exchange(
    sender: socket.socket, receiver: socket.socket, count: int, gap_ns: int, padding: bytes, wait_ns: int
) -> Flow:
    flow = Flow()
    next_ns = time.monotonic_ns()
    end_ns = next_ns + count * gap_ns + wait_ns
    check = sum(padding)
    while (now := time.monotonic_ns()) < end_ns:
        if flow.sent < count and now >= next_ns:
            try:
                sender.send(STAMP.pack(flow.sent, time.monotonic_ns(), check) + padding)
            except OSError:
                flow.refused += 1
            flow.sent += 1
            next_ns += gap_ns
            end_ns = max(end_ns, now + wait_ns)
        until_ns = next_ns if flow.sent < count else end_ns
        if select.select([receiver], [], [], max(0, until_ns - time.monotonic_ns()) / 1e9)[0]:
            _receive(receiver, flow, check)
    return flow


def _receive(receiver: socket.socket, flow: Flow, check: int) -> None:
    while True:
        try:
            data = receiver.recv(4096)
        except BlockingIOError:
            return
        number, sent_ns, claimed = STAMP.unpack_from(data)
        if claimed != check or sum(data[STAMP.size :]) != check:
            flow.damaged += 1
        else:
            flow.arrivals.append((number, time.monotonic_ns() - sent_ns))


class Connection:
    """A live TCP connection with requests whose answers are checksums of what arrived."""

    def __init__(self, lab: ShaperLab, source: str, target: str) -> None:
        self._listener = lab.socket(target, socket.SOCK_STREAM)
        self._listener.bind((lab.address(target), 0))
        self._listener.listen()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()
        self._socket = lab.socket(source, socket.SOCK_STREAM)
        self._socket.settimeout(20)
        self._socket.connect(self._listener.getsockname())
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _answer(self) -> None:
        accepted, _ = self._listener.accept()
        with accepted, contextlib.suppress(OSError):
            while head := _read(accepted, 8):
                data = _read(accepted, struct.unpack("<Q", head)[0])
                accepted.sendall(hash_of(data))

    def request(self, size: int) -> bool:
        """Send `size` random bytes; whether they arrived as they were."""
        data = os.urandom(size)
        self._socket.sendall(struct.pack("<Q", size) + data)
        return _read(self._socket, 32) == hash_of(data)

    def close(self) -> None:
        self._socket.close()
        self._thread.join(20)
        self._listener.close()


def hash_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _read(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(min(1 << 16, size - len(data)))
        if not part:
            return b""
        data += part
    return bytes(data)


def wait_until(condition, deadline_s: float = 30.0) -> bool:
    """Whether `condition` came true before the deadline; it is asked every 20 ms."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def process_exists(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"  # a zombie only waits to be reaped
