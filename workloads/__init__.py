"""Kinds of traffic: `WORKLOADS` maps the name in `load:` to its settings and to how it is made.

Ours are Locust users, open-loop schedules, and the driver that runs them as child processes.

Reading order: schedule.py (when), kv.py (what), unary.py (how it is sent), samples.py (what is kept), traffic.py and
child.py (the process), driver.py (who starts it), calibrate.py (how much).

A stranger's package adds one by the entry point group `chaosgate.workloads`; a name that is taken is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.registry import Table
from workloads.settings import KvSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.ports import Spawn, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadKind:
    """`settings_type` is a dataclass whose fields an experiment may set below the name.

    `make` is given how to start a process in a client node, and what the stack wants its clients to show
    (ports.GrantsAccess; None if it lets everybody in).
    """

    settings_type: type[Any]
    make: Callable[[Spawn, Any], Workload]


def _kv(spawn: Spawn, access: Any) -> Workload:
    from workloads.driver import LocustWorkload  # noqa: PLC0415 — reading an experiment starts no processes

    return LocustWorkload(spawn) if access is None else LocustWorkload(spawn, access=access)


WORKLOADS: Mapping[str, WorkloadKind] = Table(
    {"kv": WorkloadKind(settings_type=KvSettings, make=_kv)}, "chaosgate.workloads"
)
