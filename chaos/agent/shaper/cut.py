"""Cuts by nftables: what a node refuses to hear, in a table of its own namespace.

    table inet chaosgate {
      chain refused {
        type filter hook prerouting priority -300; policy accept;
        iifname "eth0" ip saddr { the peers } counter drop
      }
    }

A packet is always refused where it arrives: the sender's own firewall would tell its TCP. So "A sends nothing to B"
is "B refuses A". Works in an unprivileged user namespace. The table's name is reserved; nothing else is touched. When
the table goes, the kernel drops what nfqueue holds in the same namespace at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.agent.shaper.kernel import run
from chaos.agent.shaper.values import ShaperError, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chaos.agent.shaper.keeper import Keeper
    from chaos.agent.shaper.values import Port, Rule

TABLE = "inet chaosgate"
NFT = ("nft", "-f", "-")
GONE = f"add table {TABLE}\ndelete table {TABLE}\n"  # content to find nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The senders that one node refuses: the given addresses, or (`everybody`) all but the given ones."""

    addresses: tuple[str, ...] = ()
    everybody: bool = False

    def __bool__(self) -> bool:
        return self.everybody or bool(self.addresses)


def refusals(rules: Mapping[str, Sequence[Rule]], ports: Iterable[Port]) -> dict[str, Refusal]:
    """Return for each node what the cuts among all nodes' rules make it refuse. Pure."""
    ports = tuple(ports)
    return {port.node: _refusal(port, rules, ports) for port in ports}


def _refusal(receiver: Port, rules: Mapping[str, Sequence[Rule]], ports: tuple[Port, ...]) -> Refusal:
    heard = table(rules.get(receiver.node, ()), "in")
    sent = {p.address: table(rules.get(p.node, ()), "out") for p in ports if p.node != receiver.node}
    silent = {address for address, out in sent.items() if _cuts(out.of(receiver.address))}
    refused = {peer for peer, rule in heard.by_peer.items() if rule.cut}
    if not _cuts(heard.default):
        return Refusal(addresses=tuple(sorted(refused | silent)))
    spared = heard.by_peer.keys() - refused - silent
    return Refusal(addresses=tuple(sorted(spared)), everybody=True)


def _cuts(rule: Rule | None) -> bool:
    return rule is not None and rule.cut


def ruleset(refusal: Refusal, ifname: str) -> str:
    """Return the nft text that replaces the table in one transaction. Pure."""
    if not refusal:
        return GONE
    listed = f"ip saddr {{ {', '.join(refusal.addresses)} }} " if refusal.addresses else ""
    lines = [f'iifname "{ifname}" {listed}counter drop']
    if refusal.everybody:
        lines = [f'iifname "{ifname}" meta nfproto ipv4 counter drop']
        lines[:0] = [f'iifname "{ifname}" {listed}accept'] if listed else []
    body = "\n".join(f"    {line}" for line in lines)
    head = "    type filter hook prerouting priority -300; policy accept;"
    return f"{GONE}table {TABLE} {{\n  chain refused {{\n{head}\n{body}\n  }}\n}}\n"


def check_peers(rules: Iterable[Rule], ports: Iterable[Port]) -> None:
    """Raise ShaperError for an "out" rule towards an address whose namespace we don't hold: it can't refuse there."""
    known = {port.address for port in ports}
    for rule in rules:
        for peer in rule.peers:
            if rule.direction == "out" and peer not in known:
                raise ShaperError(
                    f"rule: peer {peer} is no port of this shaper; 'out' is put into force at the receiver"
                )


class Cuts:
    """The tables of all nodes."""

    def __init__(self, ports: Sequence[Port], keeper: Keeper) -> None:
        self._ports = {port.node: port for port in ports}
        self._keeper = keeper
        self._now: dict[str, Refusal] = {port.node: Refusal() for port in ports}

    def set(self, rules: Mapping[str, Sequence[Rule]]) -> None:
        """Put the cuts among all nodes' rules into force; only tables that change are touched. ShaperError."""
        for node, refusal in refusals(rules, self._ports.values()).items():
            if refusal != self._now[node]:
                port = self._ports[node]
                self._keeper.keep(port.node_netns, NFT, GONE)
                run(port.node_netns, NFT, ruleset(refusal, port.node_ifname))
                self._now[node] = refusal
