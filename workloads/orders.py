"""What a child process of the driver does as it is told; workloads/assignment.py has the two sides' words."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ORPHANED, BROKEN = 3, 4  # exit codes: the driver went away; the traffic broke down


class Part(Protocol):
    """A process's part in a load: a generator's traffic, or an observer."""

    def go(self, epoch_ns: int) -> None:
        """Begin at `epoch_ns`; returns at once."""
        ...

    def drain(self, timeout_s: float) -> None:
        """Begin nothing more; wait for what is under way."""
        ...

    def read_back(self, timeout_s: float) -> bool:
        """Read what has to be read after the traffic; say whether all of it was."""
        ...

    def close(self, *, final_reads_complete: bool) -> None:
        """End the recordings as they should end."""
        ...

    def status(self, *, running: bool = True) -> dict[str, Any]:
        """Return the last second's LoadStatus as JSON data."""
        ...


def say(what: str, **facts: Any) -> None:
    """Report one line; BrokenPipeError if nobody listens any more."""
    os.write(1, (json.dumps({"say": what, **facts}) + "\n").encode())


def obey(part: Part, told: Iterable[Mapping[str, Any]]) -> bool:
    """Carry out orders up to "close"; False if they end before it."""
    complete = False
    for order in told:
        match order["order"]:
            case "go":
                part.go(order["epoch_ns"])
            case "drain":
                part.drain(order["timeout_s"])
                say("drained", **part.status(running=False))
            case "read back":
                complete = part.read_back(order["timeout_s"])
                say("read back", complete=complete)
            case "close":
                part.close(final_reads_complete=complete)
                say("closed")
                return True
    return False
