"""The one clock of a run, CLOCK_MONOTONIC in int64 ns, and what may wake a sleeper early."""

from __future__ import annotations

import threading
import time

NS = 1_000_000_000


def ns(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * NS)


class MonotonicClock:
    """The machine's monotonic clock; `wake` ends every sleep early and keeps doing so."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def now_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def sleep_until(self, at_ns: int) -> bool:
        """Sleep until `at_ns`; True if it was reached, False if woken before it."""
        while (left_ns := at_ns - time.monotonic_ns()) > 0:
            if self._woken.wait(left_ns / NS):
                return False
        return not self._woken.is_set()

    def wake(self) -> None:
        """End the sleep in progress and all later ones; safe from a signal handler and from any thread."""
        self._woken.set()
