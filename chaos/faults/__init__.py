"""Faults: one file each. Pure: settings + victims + topology → actions.

    settings (YAML) ─▶ Fault.aim(victims, topology) ─▶ Aimed(subject, action) … ─▶ the target carries them out

Beside its settings a fault class says, for the planner: `momentary` (an operation that ends by itself: no `for`),
`takes_away` (a victim can't be counted on while it lasts: a quorum may break), `touches` (processes, packets, links,
cpu, disk, clock: two faults that touch the same of one victim at one time contradict each other). Faults of others join
the table by the entry point group `chaosgate.faults`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.faults.clock import WrongClock
from chaos.faults.cpu import ScarceCpu
from chaos.faults.disk import SickDisk
from chaos.faults.freeze import FrozenNode
from chaos.faults.kill import Kill
from chaos.faults.latency import Latency
from chaos.faults.loss import Loss
from chaos.faults.partition import Partition
from chaos.faults.pause import Pause
from chaos.faults.power import PowerLoss
from chaos.faults.replace import Replace
from chaos.faults.rescale import Rescale
from chaos.faults.restart import Restart
from chaos.faults.resubmit import Resubmit
from chaos.faults.shape import Shaped
from chaos.faults.upgrade import Upgrade
from chaos.registry import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

_OWN: Mapping[str, type[Any]] = {
    "clock": WrongClock,
    "cpu": ScarceCpu,
    "disk": SickDisk,
    "freeze": FrozenNode,
    "kill": Kill,
    "latency": Latency,
    "loss": Loss,
    "partition": Partition,
    "pause": Pause,
    "power": PowerLoss,
    "replace": Replace,
    "rescale": Rescale,
    "restart": Restart,
    "resubmit": Resubmit,
    "shape": Shaped,
    "upgrade": Upgrade,
}

FAULTS: Mapping[str, type[Any]] = Table(_OWN, "chaosgate.faults")
