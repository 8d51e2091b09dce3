"""The stack restarts a node the polite way (SIGTERM) and waits until it serves; several victims go one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, StackAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """An operation: it takes as long as it takes, at most `timeout` a node."""

    momentary: ClassVar[bool] = True
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    timeout_s: float = 60.0

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one operation a victim."""
        return [Aimed(subject=victim.name, action=StackAction(operation="restart")) for victim in victims]
