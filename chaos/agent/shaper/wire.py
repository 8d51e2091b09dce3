"""The tap backend's kernel side: two small programs a port, one TAP a hub, one queue of it for each port and direction.

    port egress  ─┐ matched: mark = slot          queue[slot] ─read─▶ daemon ─write─▶ queue[slot]
    port ingress ─┴─▶ redirect ─▶ TAP (steers by mark)                                  │
         ▲                                                                              ▼
         └────────── redirect back to where it came from, mark = ours ◀── program on the TAP

A packet with our mark is let through once. What matches is a map lookup: nothing in force costs one load and one
compare. All programs hang on links (BPF_LINK_CREATE) that only the daemon holds, so its death, by whatever means,
detaches them: the kernel's own path. Mark 0xC4A0xxxx is taken; a packet's own mark is lost while it is shaped.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

from chaos.agent.shaper import bpf
from chaos.agent.shaper.kernel import bring_up, entered, same_namespace
from chaos.agent.shaper.values import ShaperError, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.agent.shaper.values import Port, Rule, Table

# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD, TUNSETSTEERINGEBPF = 0x400454CA, 0x400454D0, 0x800454E0
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x0100, 0x1000, 0x4000
OFFLOADS = 1 | 2 | 4 | 8  # TUN_F_CSUM, TSO4, TSO6, TSO_ECN; USO4 is refused without USO6
NO_OFFLOADS = 0  # the kernel then cuts super-packets and finishes checksums before we see them

VNET_HEADER = 10  # bytes of struct virtio_net_hdr before each frame
ETHERNET_HEADER = 14
IPV4_HEADER = 20
SOURCE_AT, DESTINATION_AT = ETHERNET_HEADER + 12, ETHERNET_HEADER + 16
PROTOCOL_IPV4 = socket.htons(0x0800)

MARK = 0xC4A00000  # the slot in the low byte on the way in
MARK_BACK = 0xC4A0FFFF
PASS, SHAPE, DROP = 0, 1, 2  # what a map entry says
ACTIVE = 1 << 16
QUEUE_LENGTH = 20_000  # packets from the kernel to us; 0.2 s at 100 000 a second
TAP_MTU = 9000
PEERS_MAX = 65536
GENERATIONS = 256
DIRECTIONS = ("in", "out")


def slot_of(index: int, direction: str) -> int:
    """Return the queue number of a port's direction."""
    return index * 2 + DIRECTIONS.index(direction)


class Wire:
    """The programs on all ports of one hub namespace; OSError or ShaperError if the kernel refuses.

    `queues[slot]` is a non-blocking descriptor: each read is one frame with its vnet header, each write returns one.
    """

    def __init__(self, ports: Sequence[Port]) -> None:
        self.ports = tuple(ports)
        slots = 2 * len(self.ports)
        self._modes = bpf.Map(bpf.ARRAY, key_size=4, value_size=4, entries=slots)
        self._peers = bpf.Map(bpf.HASH, key_size=8, value_size=4, entries=PEERS_MAX)
        self._cuts = bpf.Map(bpf.ARRAY, key_size=4, value_size=8, entries=slots)
        self._generations = [0] * slots
        self._keys: list[list[bytes]] = [[] for _ in range(slots)]
        self._links: list[int] = []
        self.queues: list[int] = []
        try:
            with entered(self.ports[0].hub_netns):
                self._attach(slots)
        except BaseException:  # whatever it was, what is half made is taken back first
            self.close()
            raise

    def _attach(self, slots: int) -> None:
        name = self._make_tap(slots)
        back = bpf.load(bpf.SCHED_CLS, _return_program(self._ways_back()), "chaosgate_back")
        self._hang(back, socket.if_nametoindex(name), bpf.TCX_INGRESS)
        tap = socket.if_nametoindex(name)
        for index, port in enumerate(self.ports):
            for direction, where in (("in", bpf.TCX_EGRESS), ("out", bpf.TCX_INGRESS)):
                code = self._port_program(slot_of(index, direction), tap, direction)
                program = bpf.load(bpf.SCHED_CLS, code, f"chaosgate_{direction}")
                self._hang(program, socket.if_nametoindex(port.hub_ifname), where)

    def _hang(self, program: int, ifindex: int, where: int) -> None:
        try:
            self._links.append(bpf.attach(program, ifindex, where))
        finally:
            os.close(program)  # the link holds it

    def _make_tap(self, queues: int) -> str:
        name = b"chaosgate%d"
        for _ in range(queues):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self.queues.append(fd)
            flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE
            name = fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name, flags))[:16].rstrip(b"\0")
        steering = bpf.load(bpf.SOCKET_FILTER, _steering_program(), "chaosgate_slot")
        fcntl.ioctl(self.queues[0], TUNSETSTEERINGEBPF, struct.pack("i", steering))
        os.close(steering)
        self.offload(wanted=True)
        bring_up(name.decode(), mtu=TAP_MTU, queue_length=QUEUE_LENGTH)
        return name.decode()

    def offload(self, *, wanted: bool) -> None:
        """Whether the kernel may hand us super-packets and unfinished checksums (never while we corrupt)."""
        fcntl.ioctl(self.queues[0], TUNSETOFFLOAD, OFFLOADS if wanted else NO_OFFLOADS)

    def _ways_back(self) -> bpf.Map:
        ways = bpf.Map(bpf.ARRAY, key_size=4, value_size=8, entries=2 * len(self.ports))
        for index, port in enumerate(self.ports):
            ifindex = socket.if_nametoindex(port.hub_ifname)
            for direction, flags in (("in", 0), ("out", bpf.REDIRECT_INGRESS)):
                ways.update(struct.pack("I", slot_of(index, direction)), struct.pack("II", ifindex, flags))
        return ways

    def set(self, index: int, rules: Sequence[Rule]) -> None:
        """Put the rules of a port into force; a packet meets either all of the old or all of the new ones."""
        for direction in DIRECTIONS:
            self._set_slot(slot_of(index, direction), table(rules, direction))

    def _set_slot(self, slot: int, rules: Table) -> None:
        generation = (self._generations[slot] + 1) % GENERATIONS
        keys = []
        for peer, rule in rules.by_peer.items():
            key = struct.pack("I", slot << 8 | generation) + socket.inet_aton(peer)
            self._peers.update(key, struct.pack("I", _mode(rule)))
            keys.append(key)
        active = ACTIVE if keys or rules.default else 0
        self._modes.update(struct.pack("I", slot), struct.pack("I", active | generation << 8 | _mode(rules.default)))
        for key in self._keys[slot]:
            self._peers.delete(key)
        self._keys[slot], self._generations[slot] = keys, generation

    def cut_packets(self, index: int) -> int:
        """How many packets of a port were dropped by cuts."""
        slots = (slot_of(index, direction) for direction in DIRECTIONS)
        return sum(struct.unpack("Q", self._cuts.lookup(struct.pack("I", slot)))[0] for slot in slots)

    def close(self) -> None:
        """Detach the programs and remove the TAP. Idempotent."""
        while self._links:  # the ports first, the way back last
            os.close(self._links.pop())
        while self.queues:
            os.close(self.queues.pop())

    def _port_program(self, slot: int, tap: int, direction: str) -> bytes:
        """Our own packets pass; matched ones go to the TAP or are dropped; all others pass untouched."""
        code = bpf.Assembler()
        code.mov("r6", "r1")
        code.read("w", "r2", "r6", bpf.SKB_MARK)
        code.jump("jne", "r2", MARK_BACK, "fresh")
        code.mov("r2", 0)
        code.write("w", "r6", bpf.SKB_MARK, "r2")
        code.exit(bpf.TCX_NEXT)

        code.label("fresh")
        code.mov("r1", slot)
        code.write("w", "r10", -4, "r1")
        _look_up(code, self._modes, -4, "next")
        code.read("w", "r7", "r0", 0)
        code.jump("jeq", "r7", 0, "next")
        code.read("w", "r1", "r6", bpf.SKB_PROTOCOL)
        code.jump("jne", "r1", PROTOCOL_IPV4, "next")
        _load_packet_bytes(code, SOURCE_AT if direction == "in" else DESTINATION_AT, -12, "next")
        code.mov("r1", "r7")
        code.alu("rsh", "r1", 8)
        code.alu("and", "r1", GENERATIONS - 1)
        code.alu("or", "r1", slot << 8)
        code.write("w", "r10", -16, "r1")
        code.alu("and", "r7", 0xFF)
        _look_up(code, self._peers, -16, "decided")
        code.read("w", "r7", "r0", 0)

        code.label("decided")
        code.jump("jeq", "r7", SHAPE, "shape")
        code.jump("jeq", "r7", DROP, "drop")
        code.label("next")
        code.exit(bpf.TCX_NEXT)

        code.label("shape")
        code.mov("r1", MARK | slot)
        code.write("w", "r6", bpf.SKB_MARK, "r1")
        code.mov("r1", tap)
        code.mov("r2", 0)
        code.call(bpf.REDIRECT)
        code.exit()

        code.label("drop")
        _look_up(code, self._cuts, -4, "shot")
        code.mov("r1", 1)
        code.add_atomically("r0", 0, "r1")
        code.label("shot")
        code.exit(bpf.TC_ACT_SHOT)
        return code.assemble()


def _mode(rule: Rule | None) -> int:
    if rule is None or (rule.impairment is None and not rule.cut):
        return PASS
    return DROP if rule.cut else SHAPE


def _look_up(code: bpf.Assembler, held: bpf.Map, key_at: int, absent: str) -> None:
    """Point r0 at the entry whose key is on the stack at `key_at`."""
    code.mov("r2", "r10")
    code.alu("add", "r2", key_at)
    code.address_of("r1", held)
    code.call(bpf.MAP_LOOKUP_ELEM)
    code.jump_null("r0", absent)


def _load_packet_bytes(code: bpf.Assembler, packet_at: int, stack_at: int, failed: str) -> None:
    """Copy four bytes of the packet in r6 to the stack."""
    code.mov("r1", "r6")
    code.mov("r2", packet_at)
    code.mov("r3", "r10")
    code.alu("add", "r3", stack_at)
    code.mov("r4", 4)
    code.call(bpf.SKB_LOAD_BYTES)
    code.jump("jne", "r0", 0, failed)


def _return_program(ways: bpf.Map) -> bytes:
    """Send what was written to queue n back to the port and direction of slot n."""
    code = bpf.Assembler()
    code.mov("r6", "r1")
    code.read("w", "r1", "r6", bpf.SKB_QUEUE)  # counted from 1 on the receiving side
    code.alu("add", "r1", -1)
    code.write("w", "r10", -4, "r1")
    _look_up(code, ways, -4, "lost")
    code.mov("r1", MARK_BACK)
    code.write("w", "r6", bpf.SKB_MARK, "r1")
    code.read("w", "r1", "r0", 0)
    code.read("w", "r2", "r0", 4)
    code.call(bpf.REDIRECT)
    code.exit()
    code.label("lost")
    code.exit(bpf.TC_ACT_SHOT)
    return code.assemble()


def _steering_program() -> bytes:
    code = bpf.Assembler()
    code.read("w", "r0", "r1", bpf.SKB_MARK)
    code.alu("and", "r0", 0xFF)
    code.exit()
    return code.assemble()


def check_ports(ports: Sequence[Port]) -> None:
    """Raise ShaperError for ports on several hubs, or more than a wire has slots for."""
    apart = [port.node for port in ports if not same_namespace(port.hub_netns, ports[0].hub_netns)]
    if apart:
        raise ShaperError(f"tap: {', '.join(apart)} hang on another hub than {ports[0].node}; open a shaper for each")
    if 2 * len(ports) > GENERATIONS:
        raise ShaperError(f"tap: {len(ports)} ports on one hub, and at most {GENERATIONS // 2} can be shaped")
