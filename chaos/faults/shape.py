"""Everything that a path can do to packets, together: the terms are those of tc-netem(8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.faults.impairing import Burst, impaired
from chaos.faults.latency import Distribution  # noqa: TC001 the reader of settings asks for it at run time
from chaos.faults.peers import OTHERS
from chaos.model import Aimed, Direction, Impairment
from chaos.units import Share  # noqa: TC001 the reader of settings asks for the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """At least one effect. `reorder` is the share sent at once, ahead of delayed ones, so it needs a `delay`."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"packets"})

    delay_s: float = 0.0
    jitter_s: float = 0.0
    distribution: Distribution = "uniform"
    correlation: Share = 0.0
    loss: Share = 0.0
    burst: Burst | None = None
    duplicate: Share = 0.0
    reorder: Share = 0.0
    corrupt: Share = 0.0
    rate_bit_s: float | None = None
    ordered: bool = False
    direction: Direction = Direction.IN
    peers: tuple[str, ...] = (OTHERS,)

    def __post_init__(self) -> None:
        """Refuse what has no effect or can't be had."""
        effects = (self.delay_s, self.loss, self.burst, self.duplicate, self.reorder, self.corrupt, self.rate_bit_s)
        if not any(effects):
            raise ValueError("nothing happens to packets here; write e.g. delay: 50ms, loss: 5%, rate: 10Mbit/s")
        if self.loss and self.burst:
            raise ValueError("burst: loss is said in one way; leave out loss or burst")
        if self.jitter_s > self.delay_s:
            raise ValueError("jitter: greater than the delay, and no packet arrives before it was sent; lower it")
        if self.reorder and not self.delay_s:
            raise ValueError("reorder: some packets overtake those that are delayed; give a delay, e.g. 10ms")
        if self.rate_bit_s == 0:
            raise ValueError("rate: no packet passes at no rate; write a partition instead")

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:
        """Return one shape a victim; ValueError if `peers` fits nobody."""
        impairment = Impairment(
            delay_s=self.delay_s,
            jitter_s=self.jitter_s,
            distribution=self.distribution,
            correlation=self.correlation,
            loss=self.loss,
            burst=self.burst.model() if self.burst else None,
            duplicate=self.duplicate,
            reorder=self.reorder,
            corrupt=self.corrupt,
            rate_bit_s=self.rate_bit_s,
            ordered=self.ordered,
        )
        return impaired(victims, topology, impairment=impairment, direction=self.direction, peers=self.peers)
