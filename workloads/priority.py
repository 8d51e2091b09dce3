"""How a load that keeps a schedule of its own stands beside the servers of its lab: it is served first.

What devices send comes when it comes, however busy the servers are. In a lab both share the processors, and a generator
that waits its turn behind a dozen JVMs that compile sends late: what it measures is its own waiting. A nice value does
not help (a task that wakes waits for the end of another's slice, at whatever weight); a real-time class does.

Users who wait for answers are left as they are: at this priority they would take the time that their servers need.
"""

from __future__ import annotations

import os
from contextlib import suppress

PRIORITY = 1  # of 99: below the meter and the shaper, which measure and make the faults


def take_precedence() -> None:
    """Put this process into the real-time class SCHED_RR (sched(7)), if it has the right to it.

    To be called before any thread is started: they inherit it. Where it stays as it is, whether the load came late is
    for the gate `validity` to see.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))


def precedence() -> str:
    """Return how this process is scheduled."""
    return "real time" if os.sched_getscheduler(0) == os.SCHED_RR else "ordinary"
