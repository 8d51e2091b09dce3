"""Every effect on the world passes here and says its name first.

    effect("journal.write", write)  ─▶ announced ─▶ done

So a test can list all points of a run, and stop it dead at each; a new effect is covered by itself.
`CHAOSGATE_POINTS_LOG=file` appends the names, one a line. `CHAOSGATE_STOP_AT=name[:n],…` SIGKILLs this process
just before the n-th effect of that name (n from 1). In an agent, `CHAOSGATE_STOP_WHO=controller` asks the
controller to SIGKILL itself instead, and the effect never happens. `CHAOSGATE_STOP_BY=SIGTERM` sends another signal.
`CHAOSGATE_STOP_ONCE=folder` stops one process for each name, the first to come there: its successor may pass.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_seen: Counter[str] = Counter()
_lock = threading.Lock()
_stop_controller: list[Callable[[str], None]] = []


def effect(name: str, act: Callable[[], T]) -> T:
    """Announce `name`, then return `act()`."""
    announce(name)
    return act()


def announce(name: str) -> None:
    """Log the name if a log is asked for, and stop here if that is asked for."""
    if log := os.environ.get("CHAOSGATE_POINTS_LOG"):
        with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123 - one append, one write(2)
            file.write(name + "\n")
    if wanted := os.environ.get("CHAOSGATE_STOP_AT"):
        with _lock:
            _seen[name] += 1
            count = _seen[name]
        if is_stop(wanted, name, count) and _is_first(name):
            _stop(name)


def is_stop(wanted: str, name: str, count: int) -> bool:
    """Tell whether the `count`-th effect called `name` is among those in `wanted` ("name" or "name:n", by commas)."""
    points = (one.partition(":") for one in wanted.split(","))
    return any(stop_name == name and count == int(nth or 1) for stop_name, _, nth in points)


def stop_controller_with(send: Callable[[str], None]) -> None:
    """Say how this process (an agent) tells its controller to kill itself."""
    _stop_controller[:] = [send]


def _is_first(name: str) -> bool:
    """Leave a mark where processes shall stop only once; False if another one was there before."""
    if marks := os.environ.get("CHAOSGATE_STOP_ONCE"):
        try:
            os.close(os.open(os.path.join(marks, name), os.O_CREAT | os.O_EXCL))  # noqa: PTH118 - a mark, no file to read
        except FileExistsError:
            return False
    return True


def _stop(name: str) -> None:
    if os.environ.get("CHAOSGATE_STOP_WHO") == "controller" and _stop_controller:
        _stop_controller[0](name)
        threading.Event().wait()
    os.kill(os.getpid(), signal.Signals[os.environ.get("CHAOSGATE_STOP_BY", "SIGKILL")])
