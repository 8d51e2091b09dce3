"""The node's wall clock jumps: a bad NTP server, a virtual machine that was restored, a battery that died.

Timestamps, leases and windows that go by the time of day are then wrong on that node, and on no other. Clocks that only
go forward are not touched. Programs that ask the kernel without the C library (etcd, and all of Go) can't be fooled so:
an experiment that asks for it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, ClockSkew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongClock:
    """The node is `ahead` of the others, or `behind` them."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"clock"})

    ahead_s: float = 0.0
    behind_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a clock that is right, and one that is wrong both ways."""
        if bool(self.ahead_s) == bool(self.behind_s):
            raise ValueError("ahead: a clock is either ahead or behind; write one of them, e.g. ahead: 30s")

    @property
    def wants_clock(self) -> bool:
        """Whether the nodes need clocks of their own from the start."""
        return True

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one skew a victim."""
        action = ClockSkew(offset_s=self.ahead_s - self.behind_s)
        return [Aimed(subject=victim.name, action=action) for victim in victims]
