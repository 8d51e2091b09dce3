"""The stack gives its job another parallelism while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, StackAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """An operation on the job, once a victim: aim at one, whichever. For the adaptive scheduler."""

    momentary: ClassVar[bool] = True
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    parallelism: int
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.parallelism < 1:
            raise ValueError("parallelism: a job has at least one task")

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one operation a victim."""
        action = StackAction(operation="rescale", arguments={"parallelism": str(self.parallelism)})
        return [Aimed(subject=victim.name, action=action) for victim in victims]
