"""Three dead-men: no fault outlives the one who asked for it.

    stdin EOF ───────┐
    missed heartbeat ├─▶ which actions end now?   (pure: `due`)
    own deadline ────┘

An action that cuts its own control path ignores the first two; its deadline alone ends it.
Times are ns of CLOCK_BOOTTIME, which goes on while the machine sleeps (clock_gettime(2)): a laptop that was shut
with a fault in force heals when it wakes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """An action in force, and what may end it."""

    name: str
    deadline_ns: int
    cuts_control: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What is known of the controller: until when its last heartbeat counts, and whether its pipe is closed."""

    until_ns: int
    closed: bool = False


def boot_ns() -> int:
    """Nanoseconds of CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def ends(hold: Hold, lease: Lease, now_ns: int) -> str:
    """Return why this action must be undone now; "" if it may stay."""
    if now_ns >= hold.deadline_ns:
        return "its deadline has passed"
    if hold.cuts_control:
        return ""
    if lease.closed:
        return "the controller closed the connection"
    if now_ns >= lease.until_ns:
        return "the controller's heartbeat was missed"
    return ""


def next_ns(holds: list[Hold], lease: Lease) -> int | None:
    """Return when the next action ends if nothing more is heard; None: nothing is in force."""
    times = [h.deadline_ns if h.cuts_control else min(h.deadline_ns, lease.until_ns) for h in holds]
    return min(times, default=None)
