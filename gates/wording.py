"""Numbers as people read them, and the verdicts that every gate may need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS
from chaos.model import Span, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from chaos.recording import Recording

    Times = Collection[int] | np.ndarray[Any, Any]

_MISSING = {
    Span.STEADY: "the load never reached its hold, or a fault came with it",
    Span.FAULT: "no fault was in force",
    Span.RECOVERY: "no fault was proved to have ended while there was traffic",
    Span.RUN: "the load never reached its hold",
}


def seconds(value: float | None) -> str:
    """Return a duration as "812 ms" or "12.3 s"; "never answered" for infinity, "unknown" for None."""
    if value is None:
        return "unknown"
    if math.isinf(value):
        return "never answered"
    return f"{value:.3g} s" if abs(value) >= 1 else f"{value * 1000:.3g} ms"


def finite(value: float) -> float | None:
    """Return a number that JSON knows; None for infinity, which is "never"."""
    return value if math.isfinite(value) else None


def percent(share: float) -> str:
    """Return a share as "0.5 %"."""
    return f"{share * 100:.3g} %"


def at(recording: Recording, at_ns: int) -> str:
    """Return a moment as "t = 12.3 s", counted from the moment in which the load had reached its hold.

    Of a run that never came so far: "1.2 s after its begin".
    """
    if run := recording.windows.run:
        return f"t = {(at_ns - run[0]) / NS:.1f} s"
    begun_ns = min((event.at_ns for event in recording.events), default=at_ns)
    return f"{(at_ns - begun_ns) / NS:.1f} s after its begin"


def inconclusive(summary: str, **numbers: Any) -> Verdict:
    """Return "can't tell"."""
    return Verdict(status=Status.INCONCLUSIVE, summary=summary, numbers=numbers)


def too_few(recording: Recording, answered_ns: Times, least: int, what: str) -> str:
    """Say that fewer than `least` answers are too little to see, in the run or since its first injection; "" if not.

    An invariant that was watched only before anything broke was not put to the test.
    """
    injected_ns = min((fault.asked_ns for fault in recording.windows.faults), default=None)
    after = len(answered_ns) if injected_ns is None else _since(answered_ns, injected_ns)
    if after >= least:
        return ""
    when = "" if injected_ns is None else " since the first fault was injected"
    return f"{after:,} {what}{when}; {least:,} are needed: let it run longer, or raise the rate or their share"


def _since(times_ns: Times, since_ns: int) -> int:
    if isinstance(times_ns, np.ndarray):  # millions of them
        return int(np.count_nonzero(times_ns >= since_ns))
    return sum(at_ns >= since_ns for at_ns in times_ns)


def no_window(during: Span) -> Verdict:
    """Return the verdict on a window that the run does not have."""
    return inconclusive(f"there is no {during} window: {_MISSING[during]}", n=0)


def listed(names: list[str], most: int = 3, between: str = ", ") -> str:
    """Return "a, b, c and 4 more"."""
    shown = between.join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
