"""Two loads at once, driven as one: what is ordered is ordered of both, and what they say is told together and apart.

records ─▶ brokers ┐
                   ├─▶ status: counts of both, and in `parts` each load's own
kv ──────▶ etcd ───┘
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chaos.errors import WorkloadError
from chaos.model import LoadStatus, to_json
from workloads.tally import combined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.ports import Prepared


@dataclass(slots=True)
class Together:
    """Implements ports.Prepared over the generators of several loads, by workload."""

    loads: Mapping[str, Prepared]
    epoch_ns: int = 0  # when the last of them began

    def go(self, epoch_ns: int) -> None:
        """Let all begin at the same moment."""
        for one in self.loads.values():
            one.go(epoch_ns)
        self.epoch_ns = max(one.epoch_ns for one in self.loads.values())

    def status(self) -> LoadStatus:
        """Return the newest of both; never blocks."""
        told = {name: one.status() for name, one in self.loads.items()}
        return replace(combined([*told.values()]), parts={name: to_json(said) for name, said in told.items()})

    def drain(self) -> None:
        """End the traffic of all, at once; WorkloadError if one died."""
        self._each(lambda one: one.drain())

    def stop(self) -> None:
        """Drain, read back and close all, at once; WorkloadError if one died before that."""
        self._each(lambda one: one.stop())

    def close(self) -> None:
        """End the recordings and the processes; WorkloadError if one died before that."""
        self._each(lambda one: one.close())

    def kill(self) -> None:
        """End every process now; idempotent."""
        for one in tuple(self.loads.values()):  # another may just be getting ready
            one.kill()

    def _each(self, order: Callable[[Prepared], None]) -> None:
        with ThreadPoolExecutor(max_workers=len(self.loads), thread_name_prefix="load") as pool:
            done = [pool.submit(order, one) for one in self.loads.values()]
        troubles = [trouble for one in done if (trouble := one.exception()) is not None]
        if troubles:
            said = dict.fromkeys(str(trouble) for trouble in troubles)
            raise WorkloadError("; ".join(said)) from troubles[0]
