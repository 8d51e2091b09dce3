"""One generator process: Locust users that draw from one schedule, and what they record.

    schedule ─due─▶ KvUser ─operate─▶ KvClient ─▶ etcd
                        └──────rows──▶ SampleWriter, Tally

Imported after gevent has patched the interpreter (workloads/child.py does it), and by nothing else.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
from gevent.event import Event
from locust import User, constant, task
from locust.env import Environment
from locust.exception import RescheduleTaskImmediately, StopUser

from chaos.clock import NS, ns
from chaos.stacks.etcd.errors import outcome
from workloads.kv import Keys, KvClient, Site, client_numbers, short
from workloads.login import LoggedIn, Login
from workloads.readback import READERS, ReadBack
from workloads.sabotage import Transport, offered_share, sabotaged
from workloads.samples import Row, SampleWriter
from workloads.schedule import schedule
from workloads.settings import KvSettings
from workloads.tally import Tally
from workloads.unary import Unary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.assignment import Assignment

FLUSH_S = 0.25  # a killed generator loses at most this much, and a torn batch


class KvUser(User):
    """A Locust user whose task is one operation of the mix, at the next due time."""

    wait_time = constant(0)
    traffic: ClassVar[Traffic]

    def on_start(self) -> None:
        """Become one of the load's users."""
        self.kv = self.traffic.client()

    @task
    def operate(self) -> None:
        """Wait for the next arrival and serve it; always RescheduleTaskImmediately."""
        self.traffic.serve(self.kv)
        raise RescheduleTaskImmediately  # the schedule says when to go on, not Locust's wait


class Traffic:
    """The users, schedule and recording of one process."""

    def __init__(self, assignment: Assignment) -> None:
        load = assignment.load
        self.assignment = assignment
        self.settings = KvSettings.of(load.settings)
        self.writer = SampleWriter(assignment.samples, assignment.name)
        self.tally = Tally(began_ns=time.monotonic_ns())
        self.trouble = ""
        access = assignment.access
        self._logins = {m: Login(user=access.user, password=access.password) for m in assignment.endpoints}
        self._clients = client_numbers(assignment.index, load.processes)
        self._numbers = iter(range(assignment.index, load.users, load.processes))
        self._rng = random.Random(f"{assignment.seed}/{assignment.index}")
        self._keys = Keys(
            run_id=assignment.run_id,
            registers=self.settings.keys,
            index=assignment.index,
            processes=load.processes,
        )
        self._site = self._make_site()
        self._schedule = schedule(
            (load.rate_per_s or 0.0) * offered_share(self.settings.sabotage),
            load.stages,
            patience_s=load.timeout_s if self.settings.patience_s is None else self.settings.patience_s,
            arrivals=self.settings.arrivals,
            seed=assignment.seed,
            index=assignment.index,
            processes=load.processes,
        )
        self._go = Event()
        self._end_ns: int | None = None
        self._opened = 0
        self._begun = 0
        self._busy = 0

    def _make_site(self) -> Site:
        return Site(
            settings=self.settings,
            members=tuple(self.assignment.endpoints),
            dial=lambda member: sabotaged(self._dial(member), self.settings.sabotage, self._rng),
            keys=self._keys,
            clients=self._clients,
            record=self._record,
            outcome=outcome,
            pause=gevent.sleep,
        )

    def _dial(self, member: str) -> Transport:
        address, timeout_s = self.assignment.endpoints[member], self.assignment.load.timeout_s
        access = self.assignment.access
        unary = Unary(address, timeout_s=timeout_s, tls=access.tls)
        return LoggedIn(unary, self._logins[member], timeout_s=timeout_s) if access.user else unary

    def _record(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.writer.add(row)
        self.tally.count(rows[0])

    # ------------------------------------------------------------ users

    def open(self) -> None:
        """Start the users; they wait for `go`."""
        KvUser.traffic = self
        environment = Environment(user_classes=[KvUser])
        environment.events.user_error.add_listener(self._on_user_error)  # type: ignore[no-untyped-call]  # Locust's
        self._runner = environment.create_local_runner()
        users = self.assignment.users
        self._runner.start(users, spawn_rate=max(1, users))
        while self._opened < users:  # spawning goes on in a greenlet of Locust's
            gevent.sleep(0.01)

    def _on_user_error(self, exception: Exception, **_: Any) -> None:
        self.trouble = self.trouble or f"a user broke down: {exception!r}"

    def client(self) -> KvClient:
        """Return the next user's client."""
        number = next(self._numbers)
        self._opened += 1
        return KvClient(self._site, number, random.Random(f"{self.assignment.seed}/user/{number}"))

    def go(self, epoch_ns: int) -> None:
        """Begin at `epoch_ns`."""
        now_ns = time.monotonic_ns()
        self._schedule.epoch_ns = epoch_ns
        if self.assignment.duration_s is not None:
            self._end_ns = self._schedule.end_ns = epoch_ns + ns(self.assignment.duration_s)
        self.tally.begin(now_ns)
        gevent.spawn_later(max(0, epoch_ns - now_ns) / NS, self._go.set)

    def serve(self, client: KvClient) -> None:
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
        while self._busy and time.monotonic_ns() < deadline_ns:
            gevent.sleep(0.01)
        self._runner.quit()
        self.writer.flush(time.monotonic_ns())

    def read_back(self, timeout_s: float) -> bool:
        """Read every write-once key; False if some could not be read within `timeout_s`."""
        writer = SampleWriter(self.assignment.samples, f"final-{self.assignment.name}")
        work = ReadBack(
            keys=tuple(self._keys.once),
            members=self._site.members,
            dial=self._dial,
            clients=self._clients,
            record=writer.add,
            short=lambda value: short(value, self.settings.value_bytes),
            pause=gevent.sleep,
            deadline_ns=time.monotonic_ns() + ns(timeout_s),
        )
        gevent.joinall([gevent.spawn(work.run, number) for number in range(READERS)], raise_error=True)
        writer.close(time.monotonic_ns(), keys=len(self._keys.once), final_reads_complete=work.complete)
        return work.complete

    def close(self, *, final_reads_complete: bool) -> None:
        """End the recording as it should end."""
        now_ns = time.monotonic_ns()
        facts = {"dropped": self._schedule.dropped, "intended": self._begun + self._schedule.dropped}
        totals = self.tally.totals(now_ns)
        self.writer.close(now_ns, **facts, final_reads_complete=final_reads_complete, **totals)

    def status(self, *, running: bool = True) -> dict[str, Any]:
        """Return the last second's status."""
        now_ns = time.monotonic_ns()
        if not self.assignment.load.closed_loop and self._go.is_set():
            self._schedule.settle(now_ns)
        running = running and not self.trouble and not self._over(now_ns)
        return self.tally.status(now_ns, dropped=self._schedule.dropped, running=running, why=self.trouble)
