"""One generator process: Locust users that draw from one schedule, and what they record.

    schedule ─due─▶ LoadUser ─operate─▶ a workload's client ─▶ the stack
                        └──────rows──▶ SampleWriter, Tally

Which client that is a subclass says (kv_traffic.py, records/traffic.py). Imported after gevent has patched the
interpreter (workloads/child.py does it), and by nothing else.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import gevent
from gevent.event import Event
from locust import User, constant, task
from locust.env import Environment
from locust.exception import RescheduleTaskImmediately, StopUser

from chaos.clock import NS, ns
from workloads import WORKLOADS
from workloads.priority import precedence
from workloads.sabotage import offered_share
from workloads.samples import SampleWriter
from workloads.schedule import schedule
from workloads.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.assignment import Assignment
    from workloads.samples import Row

FLUSH_S = 0.25  # a killed generator loses at most this much, and a torn batch


class Client(Protocol):
    """One user's way to the stack."""

    def operate(self, intended_ns: int | None) -> None:
        """Make one operation, due at `intended_ns`; None: due now (closed loop)."""
        ...


class LoadUser(User):
    """A Locust user whose task is one operation, at the next due time."""

    wait_time = constant(0)
    traffic: ClassVar[Traffic]

    def on_start(self) -> None:
        """Become one of the load's users."""
        self.load = self.traffic.client()

    @task
    def operate(self) -> None:
        """Wait for the next arrival and serve it; always RescheduleTaskImmediately."""
        self.traffic.serve(self.load)
        raise RescheduleTaskImmediately  # the schedule says when to go on, not Locust's wait


class Traffic(ABC):
    """The users, schedule and recording of one process; implements orders.Part."""

    def __init__(self, assignment: Assignment) -> None:
        load = assignment.load
        self.assignment = assignment
        settings = WORKLOADS[load.workload].settings_type.of(load.settings)
        self.writer = SampleWriter(assignment.samples, assignment.name)
        self.tally = Tally(began_ns=time.monotonic_ns())
        self.trouble = ""
        self._numbers = iter(range(assignment.index, load.users, load.processes))
        self._rng = random.Random(f"{assignment.seed}/{assignment.index}")
        self._schedule = schedule(
            (load.rate_per_s or 0.0) * offered_share(settings.sabotage),
            load.stages,
            patience_s=load.timeout_s if settings.patience_s is None else settings.patience_s,
            arrivals=settings.arrivals,
            seed=assignment.seed,
            index=assignment.index,
            processes=load.processes,
        )
        self._go = Event()
        self._end_ns: int | None = None
        self._opened = 0
        self._begun = 0
        self._busy = 0

    # ------------------------------------------------------------ what a workload says

    @abstractmethod
    def make_client(self, number: int) -> Client:
        """Return the client of user `number` of the load."""

    @abstractmethod
    def read_back(self, timeout_s: float) -> bool:
        """Read what this process alone knows of; False if some could not be read within `timeout_s`."""

    def under_way(self) -> int:
        """Return how many operations have begun and not ended."""
        return self._busy

    def give_up(self) -> None:  # noqa: B027  most have nothing to give up
        """End what is under way, where users don't wait for it themselves."""

    def facts(self) -> dict[str, Any]:
        """Return what the end of the recording says beside the usual."""
        return {}

    def flush(self) -> None:
        """Write what has gathered; OSError where the disk is full."""
        self.writer.flush(time.monotonic_ns())

    def record(self, rows: Sequence[Row]) -> None:
        """Keep the rows of one operation."""
        for row in rows:
            self.writer.add(row)
        self.tally.count(rows[0])

    # ------------------------------------------------------------ users

    def open(self) -> None:
        """Start the users; they wait for `go`."""
        LoadUser.traffic = self
        environment = Environment(user_classes=[LoadUser])
        environment.events.user_error.add_listener(self._on_user_error)  # type: ignore[no-untyped-call]  # Locust's
        self._runner = environment.create_local_runner()
        users = self.assignment.users
        self._runner.start(users, spawn_rate=max(1, users))
        while self._opened < users:  # spawning goes on in a greenlet of Locust's
            gevent.sleep(0.01)

    def _on_user_error(self, exception: Exception, **_: Any) -> None:
        self.trouble = self.trouble or f"a user broke down: {exception!r}"

    def client(self) -> Client:
        """Return the next user's client."""
        number = next(self._numbers)
        self._opened += 1
        return self.make_client(number)

    def go(self, epoch_ns: int) -> None:
        """Begin at `epoch_ns`."""
        now_ns = time.monotonic_ns()
        self._schedule.epoch_ns = epoch_ns
        if self.assignment.duration_s is not None:
            self._end_ns = self._schedule.end_ns = epoch_ns + ns(self.assignment.duration_s)
        self.tally.begin(now_ns)
        gevent.spawn_later(max(0, epoch_ns - now_ns) / NS, self._go.set)

    def serve(self, client: Client) -> None:
        """Make one operation when it is due; StopUser when the load is over."""
        self._go.wait()
        due_ns = None if self.assignment.load.closed_loop else self._wait_until_due()
        if self._over(time.monotonic_ns()):
            if due_ns is not None and due_ns <= (self._end_ns or 0):
                self._schedule.dropped += 1  # due before the end, and not begun
            raise StopUser
        self._begun += 1
        self._busy += 1
        try:
            client.operate(due_ns)
        finally:
            self._busy -= 1

    def _wait_until_due(self) -> int:
        now_ns = time.monotonic_ns()
        due_ns = self._schedule.draw(now_ns)
        if due_ns is None:
            raise StopUser
        if due_ns > now_ns:
            gevent.sleep((due_ns - now_ns) / NS)
        return due_ns

    def _over(self, now_ns: int) -> bool:
        return self._end_ns is not None and now_ns >= self._end_ns

    # ------------------------------------------------------------ the end

    def drain(self, timeout_s: float) -> None:
        """Begin nothing more; wait for operations under way. Those still open after `timeout_s` become unknown."""
        now_ns = time.monotonic_ns()
        self._end_ns = now_ns if self._end_ns is None else min(now_ns, self._end_ns)
        self._schedule.close(now_ns)
        deadline_ns = now_ns + ns(timeout_s)
        while self.under_way() and time.monotonic_ns() < deadline_ns:
            gevent.sleep(0.01)
        self._runner.quit()
        self.give_up()
        self.flush()

    def close(self, *, final_reads_complete: bool) -> None:
        """End the recording as it should end."""
        now_ns = time.monotonic_ns()
        facts = {
            "dropped": self._schedule.dropped,
            "intended": self._begun + self._schedule.dropped,
            "precedence": precedence(),
        }
        totals = self.tally.totals(now_ns)
        self.writer.close(now_ns, **facts, final_reads_complete=final_reads_complete, **totals, **self.facts())

    def status(self, *, running: bool = True) -> dict[str, Any]:
        """Return the last second's status."""
        now_ns = time.monotonic_ns()
        if not self.assignment.load.closed_loop and self._go.is_set():
            self._schedule.settle(now_ns)
        running = running and not self.trouble and not self._over(now_ns)
        return self.tally.status(now_ns, dropped=self._schedule.dropped, running=running, why=self.trouble)
