"""The node loses power: the link goes first, so that nobody hears a RST, then every process. The heal boots it.

Writes that were not yet synced survive in this machine's page cache; a real power loss may take them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, Power

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLoss:
    """No settings."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"processes", "packets", "links"})

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one power a victim."""
        return [Aimed(subject=victim.name, action=Power()) for victim in victims]
