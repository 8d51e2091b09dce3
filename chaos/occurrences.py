"""When a step happens: once, or again and again.

at_s        every_s
 ●────────┊───●────────┊───●────────┊─ ✕      none begins at or after until_s
 └─ for_s ┘   └─ for_s ┘   └─ for_s ┘
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chaos.model import Step

OCCURRENCES_MAX = 10_000
OPERATION_S = 60.0  # that an operation may take a node, unless its fault has a `timeout_s`


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time that a step happens, from start_s to end_s; equal for an operation."""

    step: Step
    number: int
    start_s: float
    end_s: float


def is_momentary(fault: Any) -> bool:
    """Return whether a fault is an operation that ends by itself."""
    return bool(getattr(fault, "momentary", False))


def starts(step: Step) -> int:
    """Return how many times a step happens: none begins at or after its `until_s`."""
    if step.every_s is None or step.until_s is None or step.every_s <= 0:
        return 1
    return max(1, math.ceil(round((step.until_s - step.at_s) / step.every_s, 9)))


def occurrences(step: Step) -> Iterator[Occurrence]:
    """Yield each time that a step happens. Times are whole nanoseconds, so that equal instants compare equal."""
    for number in range(starts(step)):
        start_s = round(step.at_s + number * (step.every_s or 0.0), 9)
        yield Occurrence(step=step, number=number, start_s=start_s, end_s=round(start_s + step.for_s, 9))


def lulls(steps: Iterable[Step], end_s: float) -> Iterator[tuple[Occurrence, float, float]]:
    """Yield each occurrence after which nothing is in force, and the time from its end to the next one or to `end_s`.

    An operation is taken to be over at once, so what is yielded is the most that there can be.
    """
    every = sorted((one for step in steps for one in occurrences(step)), key=lambda one: one.start_s)
    starts_s = [one.start_s for one in every]
    latest_s = list(itertools.accumulate((one.end_s for one in every), max))  # end of all that have begun by then
    for one in every:
        begun = bisect.bisect_right(starts_s, one.end_s)
        if latest_s[begun - 1] <= one.end_s:
            yield one, one.end_s, starts_s[begun] if begun < len(every) else end_s


def timeout_s(fault: Any) -> float:
    """Return how long an operation may take a node."""
    return float(getattr(fault, "timeout_s", OPERATION_S))
