"""Whom a fault stands between: the grudge, a pure function from a victim to the peers that it concerns.

    from: others            from: client               from: [etcd3]
    ┌────┐   ┌────┐         ┌────┐   ┌────┐            ┌────┐   ┌────┐
    │ v  │─X─│ m2 │         │ v  │───│ m2 │            │ v  │───│ m2 │
    └────┘╲  └────┘         └────┘╲  └────┘            └────┘╲  └────┘
       │   X ┌────┐            X   ╲ ┌────┐               │   X ┌────┐
     clients │ m3 │         clients  │ m3 │             clients │ m3 │
             └────┘                  └────┘                     └────┘

The word is Jepsen's (jepsen/src/jepsen/nemesis.clj): a map from a node to the nodes whose messages it refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.guess import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model import Node, Topology

OTHERS = "others"  # every other node of the victim's own role; clients stay connected
ALL = "all"  # every other node, clients too


def grudge(
    victims: Sequence[Node], whom: Sequence[str], topology: Topology, *, apart: bool
) -> Mapping[str, tuple[str, ...]]:
    """Return each victim's peers in the topology's order; `whom` names `others`, `all`, roles or nodes.

    `apart`: the victims are one side and stay connected among themselves, else each is on its own.
    Raises ValueError if a name fits nothing or if a victim is left without any peer.
    """
    side = {victim.name for victim in victims} if apart else set()
    found: dict[str, tuple[str, ...]] = {}
    for victim in victims:
        named = {node.name for word in whom for node in _named(word, victim, topology)}
        peers = named - side - {victim.name}
        if not peers:
            raise ValueError(f"nobody is left to keep {victim.name} from; name nodes that are no victims themselves")
        found[victim.name] = tuple(node.name for node in topology.nodes if node.name in peers)
    return found


def _named(word: str, victim: Node, topology: Topology) -> tuple[Node, ...]:
    """Return the nodes that one word stands for, seen from a victim."""
    if word == ALL:
        return topology.nodes
    if word == OTHERS:
        return topology.with_role(victim.role)
    found = topology.with_role(word) or tuple(node for node in topology.nodes if node.name == word)
    if not found:
        known = {OTHERS, ALL, *(node.role for node in topology.nodes), *(node.name for node in topology.nodes)}
        raise ValueError(f"'{word}' is no role and no node; {suggestion(word, known)}")
    return found
