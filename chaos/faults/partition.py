"""Packets between two sides are lost, all of them, without a word to either: a pulled cable, not a closed port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.faults.peers import OTHERS, grudge
from chaos.model import Aimed, Cut, Direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The victims are one side; `from` says who is the other: `others`, `all`, a role, or a list of nodes."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"links"})

    from_: tuple[str, ...] = (OTHERS,)
    direction: Direction = Direction.BOTH

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:
        """Return one cut a victim; ValueError if `from` fits nobody."""
        sides = grudge(victims, self.from_, topology, apart=True)
        return [Aimed(subject=name, action=Cut(peers=peers, direction=self.direction)) for name, peers in sides.items()]
