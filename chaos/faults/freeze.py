"""The whole node stops, every process at once, and none of them is told: a live migration, a paused machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, Freeze

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenNode:
    """No settings."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one freeze a victim."""
        return [Aimed(subject=victim.name, action=Freeze()) for victim in victims]
