"""Kinds of traffic: `WORKLOADS` maps the name in `load:` to its settings and to how it is made.

Ours are Locust users, open-loop schedules, and the driver that runs them as child processes.

Reading order: schedule.py (when), kv.py (what), unary.py (how it is sent), samples.py (what is kept), traffic.py and
child.py (the process), driver.py (who starts it), calibrate.py and climb.py (how much). records/ is a log's traffic.

A stranger's package adds one by the entry point group `chaosgate.workloads`; a name that is taken is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.registry import Table
from workloads.records.settings import RecordsSettings
from workloads.settings import KvSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.ports import Spawn, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadKind:
    """`settings_type` is a dataclass whose fields an experiment may set below the name.

    `make` is given how to start a process in a client node, and what the stack wants its clients to show
    (ports.GrantsAccess; None if it lets everybody in).

    The rest is for workloads that `workloads.driver` drives, whose settings have `of`, `arrivals`, `patience_s` and
    `sabotage`. `traffic` names a traffic.Traffic, which a generator process makes after gevent has patched it, and
    `observer` an orders.Part, which one process without gevent makes beside the generators; both as "module:class".
    """

    settings_type: type[Any]
    make: Callable[[Spawn, Any], Workload]
    traffic: str = ""
    observer: str = ""
    paced: bool = False  # only at a rate: no closed loop, and a share of what a stack's job keeps up with (climb.py)


def _locust(spawn: Spawn, access: Any) -> Workload:
    from workloads.driver import LocustWorkload  # noqa: PLC0415 — reading an experiment starts no processes

    return LocustWorkload(spawn) if access is None else LocustWorkload(spawn, access=access)


WORKLOADS: Mapping[str, WorkloadKind] = Table(
    {
        "kv": WorkloadKind(settings_type=KvSettings, make=_locust, traffic="workloads.kv_traffic:KvTraffic"),
        "records": WorkloadKind(
            settings_type=RecordsSettings,
            make=_locust,
            traffic="workloads.records.traffic:RecordsTraffic",
            observer="workloads.records.observer:Observer",
            paced=True,  # what a flood leaves in the log would be judged with the run
        ),
    },
    "chaosgate.workloads",
)
