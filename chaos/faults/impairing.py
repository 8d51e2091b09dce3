"""What latency, loss and shape have in common: one impairment between each victim and its peers.

`peers: others` (the nodes of the victim's own role) leaves its clients alone; `peers: all` hurts every packet.
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.faults.peers import ALL, grudge
from chaos.model import Aimed, Direction, Impairment, Shape
from chaos.model import Burst as Bursts
from chaos.units import Share  # noqa: TC001 the reader of settings asks for the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Loss that comes in bursts: Gilbert-Elliott after tc-netem(8), `enter` a burst, `leave` it, a packet each."""

    enter: Share
    leave: Share
    loss_bad: Share = 1.0
    loss_good: Share = 0.0

    def __post_init__(self) -> None:
        """Refuse bursts that never begin or never end."""
        for key in ("enter", "leave"):
            if not getattr(self, key):
                raise ValueError(f"{key}: a burst that never {key}s is none; write a share above 0%")

    def model(self) -> Bursts:
        """Return it as the shaper knows it."""
        return Bursts(enter=self.enter, leave=self.leave, loss_bad=self.loss_bad, loss_good=self.loss_good)


def impaired(
    victims: Sequence[Node], topology: Topology, *, impairment: Impairment, direction: Direction, peers: Sequence[str]
) -> list[Aimed]:
    """Return one shape a victim. Each victim has a seed of its own (the CRC of its name), lest all lose in step."""
    between = {v.name: () for v in victims} if ALL in peers else grudge(victims, peers, topology, apart=False)
    return [
        Aimed(
            subject=name,
            action=Shape(
                impairment=dataclasses.replace(impairment, seed=zlib.crc32(name.encode()) or 1),
                direction=direction,
                peers=tuple(whom),
            ),
        )
        for name, whom in between.items()
    ]
