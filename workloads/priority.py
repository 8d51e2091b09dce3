"""How a load that keeps a schedule of its own stands beside the servers of its lab: it is served first.

What devices send comes when it comes, however busy the servers are. In a lab both share the processors, and a generator
that waits its turn behind a dozen JVMs that compile sends late: what it measures is its own waiting. A nice value does
not help (a task that wakes waits for the end of another's slice, at whatever weight); a real-time class does.

Users who wait for answers are left as they are: at this priority they would take the time that their servers need. But
for few of them, at a rate that is stated: those cost a tenth of a core, and send when they should.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.model import Load

LIGHT_PER_S = 300  # operations of one process, which take it a tenth of a core
PRIORITY = 1  # of 99: below the meter and the shaper, which measure and make the faults


def take_precedence() -> None:
    """Put this process into the real-time class SCHED_RR (sched(7)), if it has the right to it.

    To be called before any thread is started: they inherit it. Where it stays as it is, whether the load came late is
    for the gate `validity` to see.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))


def give_way() -> None:
    """Put this process back into the ordinary class: what it does now keeps no schedule."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def is_light(load: Load) -> bool:
    """Say whether each of a load's processes has so little to do that its servers lose nothing by its precedence."""
    stated = load.rate_per_s is not None and load.calibrated_share is None and not load.closed_loop
    return stated and (load.rate_per_s or 0.0) / load.processes <= LIGHT_PER_S


def precedence() -> str:
    """Return how this process is scheduled."""
    return "real time" if os.sched_getscheduler(0) == os.SCHED_RR else "ordinary"
