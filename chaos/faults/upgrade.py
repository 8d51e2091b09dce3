"""The stack stops its job with a savepoint and starts another version of it from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, StackAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """An operation on the job, once a victim: aim at one, whichever. `to`: a version of the job."""

    momentary: ClassVar[bool] = True
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    to: str
    timeout_s: float = 60.0

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one operation a victim."""
        action = StackAction(operation="savepoint-upgrade", arguments={"to": self.to})
        return [Aimed(subject=victim.name, action=action) for victim in victims]
