"""Impair the packets of a node: the shaper's work, one or two rules for each action.

peer ──▶ bridge ──▶ port of the node [IN here] ──▶ eth0          [OUT where the node's packets enter the hub]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.agent import rules
from chaos.agent.points import effect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import Shape


def prepare(ground: Ground, name: str, subject: str, action: Shape) -> dict[str, Any]:
    """Check that subject and peers exist; nothing is touched."""
    ground.place(subject)
    return {"name": name, "subject": subject, "peers": list(ground.addresses(action.peers))}


def apply(ground: Ground, undo: Mapping[str, Any], action: Shape) -> None:
    """Put the rules in force."""
    wanted = rules.rules_of(action, tuple(undo["peers"]))
    effect("shape.apply", lambda: rules.put(ground, undo["subject"], undo["name"], wanted))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Take the rules away; where the shaper is gone the kernel has done so (its links died with it)."""
    effect("shape.undo", lambda: rules.take(ground, undo["subject"], undo["name"]))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shaper's state and whether it holds the rules."""
    return rules.observe(ground, undo["subject"], undo["name"])
