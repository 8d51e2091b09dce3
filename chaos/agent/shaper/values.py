"""What a shaper is told: ports, and for each node a list of rules of which the first that matches a packet wins.

    rules (in, {a} cut) (in, {a, b} 50 ms) (in, {} 5 ms)   ──table()──▶   a: cut   b: 50 ms   anybody else: 5 ms

A rule with neither a cut nor an impairment lets its packets pass untouched: an exception from a later rule.
Only IPv4 packets are ever matched. ARP always passes, so that neighbours stay known and a heal is immediate.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.errors import AgentError
from chaos.model import Burst, Impairment, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


BACKENDS = ("netem", "tap", "nfqueue")  # in the order in which they are tried


class ShaperError(AgentError):
    """The shaper refused a rule, could not put it into force, or is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One node's attachment: its end of the link, and the end on the hub's bridge."""

    node: str
    address: str  # IPv4
    hub_netns: int  # open descriptor of the namespace that holds the bridge port
    hub_ifname: str
    node_netns: int  # open descriptor of the node's own namespace
    node_ifname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to the packets that a node receives from (`in`) or sends to (`out`) its peers."""

    direction: str
    peers: tuple[str, ...] = ()  # IPv4 addresses; empty: everybody
    impairment: Impairment | None = None
    cut: bool = False  # drop everything that matches

    def __post_init__(self) -> None:
        if self.direction not in {"in", "out"}:
            raise ShaperError(f"rule: direction {self.direction!r} is neither 'in' nor 'out'")
        if self.cut and self.impairment is not None:
            raise ShaperError("rule: a cut has no impairment; give one of the two")
        for peer in self.peers:
            _check_address(peer)
        if self.impairment is not None:
            check(self.impairment)


def _check_address(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError as error:
        raise ShaperError(f"rule: peer {text!r} is not an IPv4 address") from error


SHARES = ("loss", "duplicate", "reorder", "corrupt", "correlation")
DISTRIBUTIONS = ("uniform", "normal", "pareto")


def check(impairment: Impairment) -> None:
    """Raise ShaperError naming the first setting that makes no sense."""
    for name in SHARES:
        _check_share(name, getattr(impairment, name))
    if impairment.burst is not None:
        for name in ("enter", "leave", "loss_bad", "loss_good"):
            _check_share(f"burst.{name}", getattr(impairment.burst, name))
    if impairment.loss and impairment.burst is not None:
        raise ShaperError("impairment: loss and burst exclude each other; put the loss into burst.loss_good")
    if impairment.delay_s < 0 or impairment.jitter_s < 0:
        raise ShaperError("impairment: delay_s and jitter_s can't be negative")
    if impairment.distribution not in DISTRIBUTIONS:
        raise ShaperError(f"impairment: distribution {impairment.distribution!r} is none of {', '.join(DISTRIBUTIONS)}")
    if impairment.rate_bit_s is not None and impairment.rate_bit_s <= 0:
        raise ShaperError("impairment: rate_bit_s must be above 0; to stop everything, cut")
    if impairment.reorder and not impairment.delay_s:
        raise ShaperError("impairment: reorder needs a delay_s that the reordered packets can overtake")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ShaperError(f"impairment: {name} is {value}, and must be a fraction from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A list of rules of one direction, resolved: peer → its rule, and the rule of everybody else (None: untouched)."""

    by_peer: Mapping[str, Rule] = field(default_factory=dict)
    default: Rule | None = None

    def of(self, peer: str) -> Rule | None:
        """Return the rule that a packet of `peer` meets."""
        return self.by_peer.get(peer, self.default)


def table(rules: Iterable[Rule], direction: str) -> Table:
    """Resolve `rules` for one direction; the first that matches wins."""
    by_peer: dict[str, Rule] = {}
    for rule in rules:
        if rule.direction != direction:
            continue
        if not rule.peers:
            return Table(by_peer=by_peer, default=rule)
        for peer in rule.peers:
            by_peer.setdefault(peer, rule)
    return Table(by_peer=by_peer)


# ---------------------------------------------------------------- values ⇄ JSON


def rules_to_json(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Return plain JSON data of a list of rules."""
    return [to_json(rule) for rule in rules]


def rules_from_json(data: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Read a list of rules back; ShaperError or TypeError if it is none."""
    return tuple(_rule(item) for item in data)


def _rule(data: Mapping[str, Any]) -> Rule:
    shape = data["impairment"]
    if shape is not None:
        burst = shape["burst"]
        shape = Impairment(**{**shape, "burst": None if burst is None else Burst(**burst)})
    return Rule(direction=data["direction"], peers=tuple(data["peers"]), impairment=shape, cut=data["cut"])
