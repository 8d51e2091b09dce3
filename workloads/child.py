"""The generator process: `python -m workloads.child`, orders on standard input, reports on standard output.

gevent patches the interpreter before anything else is imported; that is why the generator is a process of its own.
What the two sides say to each other is in workloads/assignment.py.
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402  (everything below must meet the patched interpreter)
import json  # noqa: E402
import os  # noqa: E402
import pkgutil  # noqa: E402
import sys  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import gevent  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402

from chaos.errors import ChaosgateError  # noqa: E402
from workloads import WORKLOADS  # noqa: E402
from workloads.assignment import Assignment  # noqa: E402
from workloads.orders import BROKEN, ORPHANED, obey, say  # noqa: E402
from workloads.priority import is_light, take_precedence  # noqa: E402
from workloads.traffic import FLUSH_S, Traffic  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


def orders() -> "Iterator[dict[str, Any]]":
    """Yield the orders until the driver is gone."""
    with FileObject(0, "rb", close=False) as lines:
        for line in lines:
            yield json.loads(line)


def main() -> int:
    """Do as ordered; ORPHANED if the driver went away, BROKEN if the traffic broke down."""
    told = orders()
    first = next(told, None)
    if first is None:
        return ORPHANED
    assignment = Assignment.from_json(first)
    if WORKLOADS[assignment.load.workload].paced or is_light(assignment.load):
        take_precedence()
    traffic = _traffic(assignment)
    try:
        traffic.open()
    except ChaosgateError as error:
        _break_down(traffic, str(error))
    _calm_collector()
    gevent.spawn(_flush, traffic)
    gevent.spawn(_report, traffic)
    say("ready")
    if not obey(traffic, told):
        traffic.flush()
        return ORPHANED
    return 0


def _traffic(assignment: Assignment) -> Traffic:
    made: Traffic = pkgutil.resolve_name(WORKLOADS[assignment.load.workload].traffic)(assignment)
    return made


def _calm_collector() -> None:
    """Rows make no cycles; full collections of a growing heap would only be pauses of tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


def _flush(traffic: Traffic) -> None:
    while True:
        gevent.sleep(FLUSH_S)
        try:
            traffic.flush()
        except OSError as error:
            _break_down(traffic, f"samples can't be written: {error}")


def _report(traffic: Traffic) -> None:
    while True:
        gevent.sleep(1.0)
        say("status", **traffic.status())
        if traffic.trouble:
            _break_down(traffic, traffic.trouble)


def _break_down(traffic: Traffic, why: str) -> None:
    """End at once, without the mark of a clean end: what is recorded so far stays readable."""
    traffic.trouble = why
    say("status", **traffic.status())
    os._exit(BROKEN)


if __name__ == "__main__":
    sys.exit(main())
