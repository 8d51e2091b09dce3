"""Packets arrive late, by a fixed time and a spread around it; nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from chaos.faults.impairing import impaired
from chaos.faults.peers import OTHERS
from chaos.model import Aimed, Direction, Impairment
from chaos.units import Share  # noqa: TC001 the reader of settings asks for the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology

Distribution = Literal["uniform", "normal", "pareto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """`delay` one way, in the direction seen from the victim; `jitter` as tc-netem(8) means it."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"packets"})

    delay_s: float
    jitter_s: float = 0.0
    distribution: Distribution = "uniform"
    correlation: Share = 0.0
    ordered: bool = False
    direction: Direction = Direction.IN
    peers: tuple[str, ...] = (OTHERS,)

    def __post_init__(self) -> None:
        """Refuse what has no effect or can't be had."""
        if self.delay_s <= 0:
            raise ValueError("delay: no delay is no fault; write e.g. 50ms")
        if self.jitter_s > self.delay_s:
            raise ValueError("jitter: greater than the delay, and no packet arrives before it was sent; lower it")

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:
        """Return one shape a victim; ValueError if `peers` fits nobody."""
        impairment = Impairment(
            delay_s=self.delay_s,
            jitter_s=self.jitter_s,
            distribution=self.distribution,
            correlation=self.correlation,
            ordered=self.ordered,
        )
        return impaired(victims, topology, impairment=impairment, direction=self.direction, peers=self.peers)
