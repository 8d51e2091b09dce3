"""Faults: one file each. Pure: settings + victims + topology → actions.

    settings (YAML) ─▶ Fault.aim(victims, topology) ─▶ Aimed(subject, action) … ─▶ the target carries them out

Beside its settings a fault class says, for the planner: `momentary` (an operation that ends by itself: no `for`),
`takes_away` (a victim can't be counted on while it lasts: a quorum may break), `touches` (processes, packets, links:
two faults that touch the same of one victim at one time contradict each other). Faults of others join the table by the
entry point group `chaosgate.faults`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chaos.errors import UsageError
from chaos.faults.freeze import FrozenNode
from chaos.faults.kill import Kill
from chaos.faults.latency import Latency
from chaos.faults.loss import Loss
from chaos.faults.partition import Partition
from chaos.faults.pause import Pause
from chaos.faults.power import PowerLoss
from chaos.faults.replace import Replace
from chaos.faults.restart import Restart
from chaos.faults.shape import Shaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.metadata import EntryPoint

_OWN: Mapping[str, type[Any]] = {
    "freeze": FrozenNode,
    "kill": Kill,
    "latency": Latency,
    "loss": Loss,
    "partition": Partition,
    "pause": Pause,
    "power": PowerLoss,
    "replace": Replace,
    "restart": Restart,
    "shape": Shaped,
}


def _merged(own: Mapping[str, type[Any]], strangers: Iterable[EntryPoint]) -> Mapping[str, type[Any]]:
    """Return one table; UsageError if a stranger's fault has a name that is taken."""
    table = dict(own)
    for entry in strangers:
        if entry.name in table:
            raise UsageError(f"entry point chaosgate.faults: '{entry.name}' ({entry.value}) is taken; rename it")
        table[entry.name] = entry.load()
    return MappingProxyType(table)


FAULTS: Mapping[str, type[Any]] = _merged(_OWN, entry_points(group="chaosgate.faults"))
