"""Some packets never arrive: each by its own chance (`share`), or in bursts (`burst`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.faults.impairing import Burst, impaired
from chaos.faults.peers import OTHERS
from chaos.model import Aimed, Direction, Impairment
from chaos.units import Share  # noqa: TC001 the reader of settings asks for the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Exactly one of `share` and `burst`; by default at the victim's receiving side."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"packets"})

    share: Share | None = None
    burst: Burst | None = None
    direction: Direction = Direction.IN
    peers: tuple[str, ...] = (OTHERS,)

    def __post_init__(self) -> None:
        """Refuse none and both, and a loss of nothing."""
        if (self.share is None) == (self.burst is None):
            raise ValueError("loss is said in one way; write either share: 5% or burst: {enter: 1%, leave: 25%}")
        if self.share == 0:
            raise ValueError("share: no loss is no fault; write e.g. 5%")

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:
        """Return one shape a victim; ValueError if `peers` fits nobody."""
        impairment = Impairment(loss=self.share or 0.0, burst=self.burst.model() if self.burst else None)
        return impaired(victims, topology, impairment=impairment, direction=self.direction, peers=self.peers)
