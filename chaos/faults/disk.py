"""The node's disk gets slow, fails, or is full, for all of its files and a share of what is done with them.

    {disk: {latency: 50ms}}                            every write and sync takes 50 ms longer
    {disk: {latency: 500ms, share: 5%, of: [write]}}   a slow share of the writes
    {disk: {error: EIO, share: 1%, of: [read]}}        bad sectors
    {disk: {full: true}}                               nothing more can be written: ENOSPC

The node's files are served by a program of ours from before its processes start until they are gone, in every phase of
such an experiment, so that what is compared differs in the fault alone.
"""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.agent.disks import KINDS, SYNC, WRITE
from chaos.model import Aimed, DiskFault
from chaos.tolerances import packets_for_share
from chaos.units import Share  # noqa: TC001  (the experiment's reader evaluates the annotations)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology

FULL = "ENOSPC"
LOOKS = 2  # in each of which as many trials are made
LOOK_S = 5.0  # a share is told by hundreds of trials, and slow ones take long: side by side they take no longer
WORKERS_MIN, WORKERS_MAX = 8, 64
ONE_BY_ONE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SickDisk:
    """`of`: read, write, sync and meta (create, rename, remove); `share` of these are hit."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = False
    touches: ClassVar[frozenset[str]] = frozenset({"disk"})

    latency_s: float = 0.0
    error: str = ""
    full: bool = False
    share: Share = 1.0
    of: tuple[str, ...] = (WRITE, SYNC)

    def __post_init__(self) -> None:
        """Refuse a fault that does nothing, and words that are unknown."""
        if not self.latency_s and not self.error and not self.full:
            raise ValueError("latency: nothing would happen; write latency, error, or full: true")
        if self.full and (self.error or self.share < 1):
            raise ValueError("full: a disk that is full fails every write by itself; leave out error and share")
        if self.error and not isinstance(getattr(errno, self.error, None), int):
            raise ValueError(f"error: no such errno '{self.error}'; write e.g. EIO")
        if not 0 < self.share <= 1:
            raise ValueError("share: none would be hit; write more than 0%")
        if wrong := [one for one in self.of if one not in KINDS]:
            raise ValueError(f"of: no operation '{wrong[0]}'; there are {', '.join(KINDS)}")
        if not self.of:
            raise ValueError(f"of: nothing would be hit; write some of {', '.join(KINDS)}")

    @property
    def wants_disk(self) -> bool:
        """Whether the nodes' files have to be served by a program of ours: always."""
        return True

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one action a victim."""
        action = DiskFault(
            ops=(WRITE,) if self.full else self.of,
            share=self.share,
            delay_s=self.latency_s,
            error=FULL if self.full else self.error,
            trials=self._trials,
            workers=self._workers,
        )
        return [Aimed(subject=victim.name, action=action) for victim in victims]

    @property
    def _trials(self) -> int:
        """How many tell the share, in each look and of each kind."""
        return 20 if self.share == 1 else math.ceil(packets_for_share(self.share) / LOOKS)

    @property
    def _workers(self) -> int:
        """How many trials are under way at once."""
        if self.share == 1 and self.latency_s <= ONE_BY_ONE_S:
            return 1
        slow_s = len(self.of) * self._trials * self.share * self.latency_s
        return min(WORKERS_MAX, max(WORKERS_MIN, math.ceil(slow_s / LOOK_S)))
