"""The kernel's own shaper, where it has netem: qdiscs of ours on the hub's side of each port.

    IN   port egress :  root prio c4a0: ─ u32 by source ──────▶ band n ─ netem      unmatched: band 1, untouched
    OUT  port ingress:  u32 by destination ─ mirred ─▶ ifb: root prio c4a0: ─ u32 ─▶ band n ─ netem

Handle c4a0: is reserved. A foreign root or ingress qdisc is refused, never flushed. Each change deletes and adds:
`tc qdisc replace` keeps settings that it does not name (seen with reorder and corrupt). What netem holds at that
moment is lost, as on a link that flaps. A cut is nft's (cut.py). A keeper takes all back if the agent dies.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

from chaos.agent.shaper.client import check_node
from chaos.agent.shaper.cut import Cuts, check_peers
from chaos.agent.shaper.keeper import Keeper
from chaos.agent.shaper.kernel import entered, run
from chaos.agent.shaper.model import BUFFER_NS
from chaos.agent.shaper.values import ShaperError, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.agent.shaper.values import Port, Rule, Table
    from chaos.model import Burst, Impairment

HANDLE = "c4a0:"
BANDS_MAX = 16  # TCQ_PRIO_BANDS; the first is for what no rule matches
LIMIT = 100_000  # packets; netem's default of 1 000 is 0.2 s at 5 000 a second
FULL_PACKET_BITS = 1514 * 8
ORDERED_BIT_S = 1e11  # with any rate netem never lets a packet overtake another
BATCH = ("tc", "-batch", "-")
NOTHING_OF_OURS = {"noqueue", "pfifo_fast", "fq_codel", "mq", "fq", "pfifo"}  # what the kernel puts there by itself


def arguments(asked: Impairment) -> str:
    """Return tc-netem(8)'s words for an impairment. Pure. Every setting is named by its presence alone."""
    return " ".join(["netem", "limit", str(_limit(asked)), *_delay(asked), *_chances(asked), *_rate(asked)])


def _limit(asked: Impairment) -> int:
    if asked.rate_bit_s is None:
        return LIMIT
    waiting = (asked.delay_s + asked.jitter_s * 4 + BUFFER_NS / 1e9) * asked.rate_bit_s / FULL_PACKET_BITS
    return max(8, round(waiting))


def _delay(asked: Impairment) -> Iterator[str]:
    if not asked.delay_s and not asked.jitter_s:
        return
    yield f"delay {_us(asked.delay_s)}"
    if asked.jitter_s:
        yield _us(asked.jitter_s)
        if asked.correlation:
            yield _percent(asked.correlation)
        if asked.distribution != "uniform":
            yield f"distribution {asked.distribution}"


def _chances(asked: Impairment) -> Iterator[str]:
    if asked.burst is not None:
        yield _burst(asked.burst)
    for word, share in (
        ("loss random", asked.loss),
        ("duplicate", asked.duplicate),
        ("reorder", asked.reorder),
        ("corrupt", asked.corrupt),
    ):
        if share:
            yield f"{word} {_percent(share)}"


def _burst(burst: Burst) -> str:
    shares = (burst.enter, burst.leave, burst.loss_bad, burst.loss_good)
    return "loss gemodel " + " ".join(_percent(share) for share in shares)


def _rate(asked: Impairment) -> Iterator[str]:
    if asked.rate_bit_s is not None or asked.ordered:
        yield f"rate {round(asked.rate_bit_s or ORDERED_BIT_S)}bit"


def _us(seconds: float) -> str:
    return f"{round(seconds * 1e6)}us"


def _percent(share: float) -> str:
    return f"{share * 100:.6f}%"


def root(device: str, rules: Table, field: str) -> list[str]:
    """Return the tc lines that put a direction's rules on a device's root; `field` is src or dst. Pure. ShaperError."""
    bands = _bands(rules)
    if len(bands) >= BANDS_MAX:
        raise ShaperError(f"netem: {len(bands)} different rules on {device}, and at most {BANDS_MAX - 1} fit")
    lines = [f"qdisc add dev {device} root handle {HANDLE} prio bands {len(bands) + 1} priomap {'0 ' * 16}".strip()]
    for number, rule in enumerate(bands, 2):
        if rule.impairment is not None:
            lines.append(f"qdisc add dev {device} parent {HANDLE}{number} {arguments(rule.impairment)}")
    for peer, rule in rules.by_peer.items():
        band = bands.index(rule) + 2 if rule in bands else 1
        lines.append(_filter(device, 1, f"match ip {field} {peer}/32", band))
    if rules.default in bands:
        lines.append(_filter(device, 2, "match u32 0 0", bands.index(rules.default) + 2))
    return lines


def _filter(device: str, priority: int, match: str, band: int) -> str:
    return f"filter add dev {device} parent {HANDLE} protocol ip prio {priority} u32 {match} flowid {HANDLE}{band}"


def _bands(rules: Table) -> list[Rule]:
    """Return the different rules that impair, in the order in which they are met."""
    met = [*rules.by_peer.values(), *([rules.default] if rules.default else [])]
    return list(dict.fromkeys(rule for rule in met if rule.impairment is not None))


def detour(port: Port, ifb: str) -> list[str]:
    """Return the tc lines that lead what a port receives from its node through an ifb device. Pure."""
    redirect = f"match u32 0 0 action mirred egress redirect dev {ifb}"
    return [
        f"qdisc add dev {port.hub_ifname} handle ffff: ingress",
        f"filter add dev {port.hub_ifname} parent ffff: protocol ip prio 1 u32 {redirect}",
    ]


class NetemPort:
    """What is ours on one port."""

    def __init__(self, port: Port, keeper: Keeper) -> None:
        self.port, self._keeper = port, keeper
        with entered(port.hub_netns):
            self.ifb = f"c4a0-{socket.if_nametoindex(port.hub_ifname)}"
        self._in_force: dict[str, list[str]] = {"in": [], "out": []}
        self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        name = self.port.hub_ifname
        for qdisc in json.loads(run(self.port.hub_netns, ("tc", "-j", "qdisc", "show", "dev", name))):
            of_others = qdisc["kind"] in {"ingress", "clsact"} or qdisc["handle"] not in {"0:", HANDLE}
            if of_others or (qdisc.get("root") and qdisc["kind"] not in NOTHING_OF_OURS and qdisc["handle"] != HANDLE):
                raise ShaperError(
                    f"netem: {name} has a {qdisc['kind']} qdisc {qdisc['handle']} of somebody else; remove it first"
                )

    def set(self, rules: Sequence[Rule]) -> None:
        """Put both directions into force; only a direction that changes is touched."""
        wanted_in, wanted_out = table(rules, "in"), table(rules, "out")
        self._change("in", root(self.port.hub_ifname, wanted_in, "src") if _bands(wanted_in) else [])
        self._change("out", root(self.ifb, wanted_out, "dst") if _bands(wanted_out) else [])

    def _change(self, direction: str, lines: list[str]) -> None:
        if lines == self._in_force[direction]:
            return
        if self._in_force[direction]:
            self._clear(direction)
        self._in_force[direction] = []
        if not lines:
            return
        if direction == "out":
            self._make_ifb()
            lines_now = [*lines, *detour(self.port, self.ifb)]
        else:
            self._keeper.keep(self.port.hub_netns, self._delete_root())
            lines_now = lines
        try:
            run(self.port.hub_netns, BATCH, "\n".join(lines_now) + "\n")
        except ShaperError:
            self._clear(direction)  # a batch stops at its first bad line, with the others done
            raise
        self._in_force[direction] = lines

    def _clear(self, direction: str) -> None:
        commands = [self._delete_root()] if direction == "in" else [self._delete_detour(), self._delete_ifb()]
        for command in commands:
            run(self.port.hub_netns, command, accept=range(256))  # content to find nothing

    def _make_ifb(self) -> None:
        self._keeper.keep(self.port.hub_netns, self._delete_ifb())
        self._keeper.keep(self.port.hub_netns, self._delete_detour())
        run(self.port.hub_netns, ("ip", "link", "add", self.ifb, "type", "ifb"))
        run(self.port.hub_netns, ("ip", "link", "set", self.ifb, "up"))

    def _delete_root(self) -> tuple[str, ...]:
        return ("tc", "qdisc", "del", "dev", self.port.hub_ifname, "root", "handle", HANDLE)

    def _delete_detour(self) -> tuple[str, ...]:
        return ("tc", "qdisc", "del", "dev", self.port.hub_ifname, "ingress")

    def _delete_ifb(self) -> tuple[str, ...]:
        return ("ip", "link", "del", self.ifb)

    def counts(self) -> dict[str, int]:
        """Counters of our netem qdiscs; netem does not tell duplicates, and its drops include what overflowed."""
        devices = [self.port.hub_ifname] if self._in_force["in"] else []
        devices += [self.ifb] if self._in_force["out"] else []
        total = {"seen": 0, "dropped": 0, "duplicated": 0, "held": 0, "overflow": 0}
        for device in devices:
            for qdisc in json.loads(run(self.port.hub_netns, ("tc", "-s", "-j", "qdisc", "show", "dev", device))):
                if qdisc["kind"] == "netem":
                    total["seen"] += qdisc["packets"] + qdisc["drops"]
                    total["dropped"] += qdisc["drops"]
                    total["held"] += qdisc["qlen"]
        return total


class NetemShaper:
    """Rules as qdiscs."""

    backend = "netem"
    realtime = True  # the kernel's timers need no priority

    def __init__(self, ports: Sequence[Port]) -> None:
        self._ports = {port.node: port for port in ports}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._keeper = Keeper(fd for port in ports for fd in (port.hub_netns, port.node_netns))
        try:
            self._netem = {port.node: NetemPort(port, self._keeper) for port in ports}
        except (OSError, ShaperError):
            self._keeper.close()
            raise
        self._cuts = Cuts(ports, self._keeper)

    def set(self, node: str, rules: Sequence[Rule]) -> None:
        """Replace everything in force on `node`; ShaperError."""
        check_node(node, self._ports)
        check_peers((rule for rule in rules if rule.cut), self._ports.values())
        with self._lock:
            if self._closed or not self._keeper.alive:
                raise ShaperError("netem: the keeper that would undo this is gone; open the shaper again")
            wanted = {**self._rules, node: tuple(rules)}
            self._netem[node].set(rules)
            self._cuts.set(wanted)
            self._rules = wanted

    def state(self) -> Mapping[str, Any]:
        """Return backend, alive, pids, and counters a node (of the qdiscs now in force)."""
        with self._lock:
            return {
                "backend": self.backend,
                "alive": self._keeper.alive,
                "why": "" if self._keeper.alive else "the keeper ended",
                "pids": {"keeper": self._keeper.pid},
                "realtime": self.realtime,
                "nodes": {node: port.counts() for node, port in self._netem.items()},
            }

    def close(self) -> None:
        """Take everything back. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._keeper.close()
