"""The process that looks on: `python -m workloads.observer`, one a load, beside its generators.

generators ─▶ stack ─▶ observer: when was it seen; after the drain, is all of it there

It does not share the generators' interpreter: what it reads must not make them late, and gevent is not patched in
here. Orders and reports are those of a generator (workloads/assignment.py).
"""

from __future__ import annotations

import json
import os
import pkgutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from chaos.errors import ChaosgateError
from workloads import WORKLOADS
from workloads.assignment import Assignment
from workloads.orders import BROKEN, ORPHANED, obey, say
from workloads.priority import take_precedence

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID_EACH_S = 1.0


def orders() -> Iterator[dict[str, Any]]:
    """Yield the orders until the driver is gone."""
    for line in sys.stdin.buffer:
        yield json.loads(line)


def main() -> int:
    """Do as ordered; ORPHANED if the driver went away, BROKEN if it can't observe."""
    told = orders()
    first = next(told, None)
    if first is None:
        return ORPHANED
    assignment = Assignment.from_json(first)
    take_precedence()  # when it sees a record is a measurement
    observer = pkgutil.resolve_name(WORKLOADS[assignment.load.workload].observer)(assignment)
    try:
        observer.open()
    except ChaosgateError as error:
        print(error, file=sys.stderr)  # noqa: T201  the log, whose last line the driver quotes
        return BROKEN
    threading.Thread(target=_report, args=(observer,), daemon=True).start()
    say("ready")
    return 0 if obey(observer, told) else ORPHANED


def _report(observer: Any) -> None:
    """Say each second how it is; where it can't go on, end without the mark of a clean end."""
    while True:
        time.sleep(SAID_EACH_S)
        say("status", **observer.status())
        if observer.trouble:
            os._exit(BROKEN)


if __name__ == "__main__":
    sys.exit(main())
