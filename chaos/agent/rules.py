"""Which rules the shaper holds for a node, from the actions in force there.

    etcd1: [cut 10.0.0.3 in] [cut 10.0.0.3 out] [shape * in]     first match wins: cuts stand in front

Two shapes that would both want the same packets are refused: the later one would silently do nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.agent.shaper import Rule
from chaos.errors import AgentError
from chaos.model import Cut, Direction, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.agent.ground import Ground

_WAYS = {Direction.IN: ("in",), Direction.OUT: ("out",), Direction.BOTH: ("in", "out")}


def rules_of(action: Shape | Cut, peers: tuple[str, ...]) -> list[Rule]:
    """Return the rules of one action; `peers` are its peers' IPv4 addresses, empty for everybody."""
    cut = isinstance(action, Cut)
    impairment = action.impairment if isinstance(action, Shape) else None
    return [Rule(direction=way, peers=peers, impairment=impairment, cut=cut) for way in _WAYS[action.direction]]


def clash(old: Rule, new: Rule) -> bool:
    """Tell whether two shapes would want the same packets."""
    if old.cut or new.cut or old.direction != new.direction:
        return False
    return not old.peers or not new.peers or bool(set(old.peers) & set(new.peers))


def in_order(held: Sequence[tuple[str, Rule]]) -> list[Rule]:
    """Return the rules in the order of matching: cuts, then shapes."""
    return [rule for _, rule in sorted(held, key=lambda pair: not pair[1].cut)]


def put(ground: Ground, node: str, name: str, new: Sequence[Rule]) -> None:
    """Put the rules of action `name` in force; AgentError if they clash with those of another."""
    with ground.lock:
        shaper = ground.shaper()
        held = [pair for pair in ground.shaping.get(node, []) if pair[0] != name]
        for owner, old in held:
            if any(clash(old, rule) for rule in new):
                raise AgentError(
                    f"{node}: {owner} already shapes these packets; name disjoint peers or directions, or heal it first"
                )
        wanted = [*held, *((name, rule) for rule in new)]
        ground.shaping[node] = wanted  # before the effect: `take` must find what a `set` that failed left half-done
        shaper.set(node, in_order(wanted))


def take(ground: Ground, node: str, name: str) -> None:
    """Take the rules of action `name` away; content to find none, or no shaper."""
    with ground.lock:
        shaper = ground.living_shaper()
        before = ground.shaping.get(node, [])
        after = [pair for pair in before if pair[0] != name]
        if shaper is not None and len(after) != len(before) and not ground.is_gone(node):
            shaper.set(node, in_order(after))
        ground.shaping[node] = after  # after the effect: a retry must find what a `set` that failed left


def observe(ground: Ground, node: str, name: str) -> dict[str, object]:
    """Return whether the shaper lives and still holds the rules of `name`, and what it counted."""
    with ground.lock:
        if ground.opened is None:
            return {"shaper": {"alive": False}, "held": False}
        state = dict(ground.opened.state())
        held = any(owner == name for owner, _ in ground.shaping.get(node, []))
        return {"shaper": state, "held": held and bool(state.get("alive"))}
