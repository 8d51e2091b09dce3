"""The node loses power: the link goes first, so that nobody hears a RST, then every process. The heal boots it.

Writes that were not yet synced survive in this machine's page cache. A real power loss takes them, and so does
`unsynced: lost`: the node's files are then served by a program of ours, which puts back what was synced last. What is
older than 30 s counts as synced, as a kernel would have written it by then (vm.dirty_expire_centisecs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from chaos.model import Aimed, Power

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology

LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLoss:
    """`unsynced`: what becomes of writes that were not synced, `survives` or `lost`."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"processes", "packets", "links"})

    unsynced: Literal["survives", "lost"] = "survives"

    @property
    def wants_disk(self) -> bool:
        """Whether the nodes' files have to be served by a program of ours."""
        return self.unsynced == LOST

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one power a victim."""
        return [Aimed(subject=victim.name, action=Power(unsynced_lost=self.wants_disk)) for victim in victims]
