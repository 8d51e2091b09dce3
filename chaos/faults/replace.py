"""The stack exchanges a node's program for another version, on the same data; several victims go one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, StackAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """An operation that takes at most `timeout` a node. `version` as the stack names it, or a path."""

    momentary: ClassVar[bool] = True
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    version: str
    timeout_s: float = 120.0

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one operation a victim."""
        return [
            Aimed(subject=victim.name, action=StackAction(operation="replace", arguments={"version": self.version}))
            for victim in victims
        ]
