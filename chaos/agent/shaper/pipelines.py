"""The nfqueue backend's plan, pure: which packets go to which queue, and which rules they meet there.

Everything is decided where a packet arrives. What goes from S to R meets S's "out" rule for R, then R's "in" rule
for S, in one queue of R's namespace: base + 1 + the index of S's port; base itself is for senders without a port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.agent.shaper.values import ShaperError, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.agent.shaper.values import Port, Rule

QUEUE_BASE = 0xC4A0
CHAIN = "CHAOSGATE"

Pipeline = tuple[tuple[str, "Rule"], ...]  # (the node whose rule it is, the rule), in the order of the packet's way


def pipelines(rules: Mapping[str, Sequence[Rule]], ports: Sequence[Port], receiver: Port) -> dict[int, Pipeline]:
    """Return for each queue of a receiver what its packets meet; () is nothing."""
    heard = table(rules.get(receiver.node, ()), "in")
    plan: dict[int, Pipeline] = {QUEUE_BASE: _stages((receiver.node, heard.default))}
    for index, port in enumerate(ports):
        if port.node != receiver.node:
            sent = table(rules.get(port.node, ()), "out").of(receiver.address)
            plan[QUEUE_BASE + 1 + index] = _stages((port.node, sent), (receiver.node, heard.of(port.address)))
    return plan


def _stages(*stages: tuple[str, Rule | None]) -> Pipeline:
    return tuple((node, rule) for node, rule in stages if rule is not None and rule.impairment is not None)


def chain(plan: Mapping[int, Pipeline], ports: Sequence[Port]) -> str:
    """Return the iptables-restore text (--noflush) that replaces the chain's rules in one transaction.

    --queue-bypass: without a listener the packets pass, so the death of the daemon heals.
    """
    lines = [
        _line(plan[number], number, f"-s {_sender(number, ports)} ") for number in sorted(plan) if number > QUEUE_BASE
    ]
    if plan.get(QUEUE_BASE):
        lines.append(_line(plan[QUEUE_BASE], QUEUE_BASE, ""))
    return "\n".join(["*mangle", f":{CHAIN} - [0:0]", *lines, "COMMIT", ""])


def _sender(number: int, ports: Sequence[Port]) -> str:
    return ports[number - QUEUE_BASE - 1].address


def _line(pipeline: Pipeline, number: int, source: str) -> str:
    target = f"NFQUEUE --queue-num {number} --queue-bypass" if pipeline else "RETURN"
    return f"-A {CHAIN} {source}-j {target}"


def refuse(rules: Sequence[Rule], ports: Sequence[Port]) -> None:
    """Raise ShaperError for what NFQUEUE can't do."""
    known = {port.address for port in ports}
    for rule in rules:
        if rule.impairment is not None and rule.impairment.duplicate:
            raise ShaperError("nfqueue: can't duplicate packets; the backends netem and tap can")
        for peer in rule.peers:
            if peer not in known:
                raise ShaperError(
                    f"nfqueue: peer {peer} is no port of this shaper, and only its ports can be told apart"
                )
