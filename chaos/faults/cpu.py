"""The node gets less CPU time: a neighbour that takes it, a machine that is throttled, a slow task.

Nothing is stopped, and everything takes longer, in fits and starts: what a node may use of every 100 ms it uses at
once, and then it waits for the next (Linux, Documentation/scheduler/sched-bwc.rst). A node that wants no more than it
may have is not slowed, and the fault is then inconclusive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, CpuQuota

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology

LEAST_CORES = 0.01  # the kernel's least quota is 1 ms of 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ScarceCpu:
    """`cores` is what all processes of the node may use together, 0.1 being a tenth of one core."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"cpu"})

    cores: float

    def __post_init__(self) -> None:
        if self.cores < LEAST_CORES:
            raise ValueError(f"cores: {self.cores:g} is less than the kernel can give; write {LEAST_CORES} or more")

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one quota a victim."""
        return [Aimed(subject=victim.name, action=CpuQuota(cores=self.cores)) for victim in victims]
