"""The generator process: `python -m workloads.child`, orders on standard input, reports on standard output.

gevent patches the interpreter before anything else is imported; that is why the generator is a process of its own.
What the two sides say to each other is in workloads/assignment.py.
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402  (everything below must meet the patched interpreter)
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import gevent  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402

from workloads.assignment import Assignment  # noqa: E402
from workloads.traffic import FLUSH_S, Traffic  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

ORPHANED, BROKEN = 3, 4  # exit codes


def say(what: str, **facts: Any) -> None:
    """Report one line; BrokenPipeError if nobody listens any more."""
    os.write(1, (json.dumps({"say": what, **facts}) + "\n").encode())


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
    traffic = Traffic(Assignment.from_json(first))
    traffic.open()
    _calm_collector()
    gevent.spawn(_flush, traffic)
    gevent.spawn(_report, traffic)
    say("ready")
    if not _obey(traffic, told):
        traffic.writer.flush(time.monotonic_ns())
        return ORPHANED
    return 0


def _obey(traffic: Traffic, told: "Iterator[dict[str, Any]]") -> bool:
    """Carry out orders up to "close"; False if they end before it."""
    complete = False
    for order in told:
        match order["order"]:
            case "go":
                traffic.go(order["epoch_ns"])
            case "drain":
                traffic.drain(order["timeout_s"])
                say("drained", **traffic.status(running=False))
            case "read back":
                complete = traffic.read_back(order["timeout_s"])
                say("read back", complete=complete)
            case "close":
                traffic.close(final_reads_complete=complete)
                say("closed")
                return True
    return False


def _calm_collector() -> None:
    """Rows make no cycles; full collections of a growing heap would only be pauses of tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


def _flush(traffic: Traffic) -> None:
    while True:
        gevent.sleep(FLUSH_S)
        try:
            traffic.writer.flush(time.monotonic_ns())
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
