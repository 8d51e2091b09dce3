"""The stack cancels its job and submits it again without its state: records are lost or doubled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, StackAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology

_STARTS = ("earliest", "latest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmit:
    """An operation on the job, once a victim: aim at one, whichever. `start`: earliest or latest."""

    momentary: ClassVar[bool] = True
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    start: str = "latest"
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.start not in _STARTS:
            raise ValueError(f"start: no such one as '{self.start}'; there are {', '.join(_STARTS)}")

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one operation a victim."""
        action = StackAction(operation="resubmit", arguments={"start": self.start})
        return [Aimed(subject=victim.name, action=action) for victim in victims]
