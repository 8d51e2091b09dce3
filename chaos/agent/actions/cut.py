"""One side of a partition: the node and its peers no longer hear each other.

peer ──▶ bridge ──✂── port of the node     and the other way round; ARP and everybody else pass
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.agent import rules
from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import Cut


def prepare(ground: Ground, name: str, subject: str, action: Cut) -> dict[str, Any]:
    """Check that subject and peers exist; nothing is touched."""
    ground.place(subject)
    if not action.peers:
        raise AgentError(f"{name}: a cut of {subject} from nobody does nothing; name its peers")
    return {"name": name, "subject": subject, "peers": list(ground.addresses(action.peers))}


def apply(ground: Ground, undo: Mapping[str, Any], action: Cut) -> None:
    """Put the rules in force."""
    wanted = rules.rules_of(action, tuple(undo["peers"]))
    effect("cut.apply", lambda: rules.put(ground, undo["subject"], undo["name"], wanted))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:
    """Take the rules away; content to find none."""
    effect("cut.undo", lambda: rules.take(ground, undo["subject"], undo["name"]))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shaper's state and whether it holds the rules."""
    return rules.observe(ground, undo["subject"], undo["name"])
