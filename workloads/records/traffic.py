"""The records of one generator process: users put them into the producer when they are due, and never wait.

    LoadUser ─▶ RecordsClient ─▶ RecordProducer ─▶ log
                                     └─ Report ─▶ Row: produce, key "17", value "5", endpoint "in/1", revision = offset

A record's row is made when its report has come, so a stalled log makes rows late and never users: the arrivals go on,
as they would from a thousand devices. A record that the producer refused is a row too; its number goes to the next.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent.monkey import get_original

from chaos.clock import ns
from chaos.errors import WorkloadError
from workloads.records import nexmark
from workloads.records.keys import Draft, Keys, value
from workloads.records.outcomes import outcome
from workloads.records.producer import RecordProducer, RefusedError
from workloads.records.settings import ALL, NUMBERED, SKIP_IDS, RecordsSettings
from workloads.samples import Row
from workloads.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads.assignment import Assignment
    from workloads.records.producer import Report
    from workloads.traffic import Client

CONNECT_S = 10.0
IN_A_ROW = 64  # records that a user sends before it lets others run, where they are overdue
_PURGED_S = 2.0


class Sent(NamedTuple):
    """What a row will say of a record besides how it went."""

    intended_ns: int
    call_ns: int
    client: int
    draft: Draft


class RecordsTraffic(Traffic):
    """Numbered records on a log."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        load = assignment.load
        self.settings = RecordsSettings.of(load.settings)
        self.keys = Keys(
            count=self.settings.keys,
            first=self.settings.first_key,
            index=assignment.index,
            processes=load.processes,
            rng=self._rng,
            zipf=self.settings.zipf,
            hot=self.settings.hot_share,
            skips=self.settings.sabotage == SKIP_IDS,
        )
        self.wall_ns = 0  # added to CLOCK_MONOTONIC it gives the time since 1970
        self.partitions = 0

    def open(self) -> None:
        """Connect, and start the users; they wait for `go`. WorkloadError if there is no such topic."""
        self.producer: RecordProducer[Sent] = RecordProducer(
            ",".join(self.assignment.endpoints.values()),
            self.settings,
            timeout_s=self.assignment.load.timeout_s,
            start_thread=_native_thread,
        )
        self.partitions = self.producer.connect(time.monotonic_ns() + ns(CONNECT_S), gevent.sleep)
        super().open()

    def go(self, epoch_ns: int) -> None:
        """Begin at `epoch_ns`; from here on records bear this wall clock."""
        self.wall_ns = time.time_ns() - time.monotonic_ns()
        super().go(epoch_ns)

    def value(self, draft: Draft, wall_us: int) -> bytes:
        """Return the value of the next record; events are numbered over all processes."""
        if self.settings.content == NUMBERED:
            return value(draft, wall_us)
        number = self.assignment.index + self.keys.taken * self.assignment.load.processes
        return nexmark.value(draft.key, draft.n, number, wall_us)

    def make_client(self, number: int) -> RecordsClient:
        """Return the client of user `number` of the load."""
        return RecordsClient(self, number)

    def serve(self, client: Client) -> None:
        """Send some records when they are due: Locust's own way from one to the next takes longer than sending."""
        for _ in range(IN_A_ROW):
            super().serve(client)
        gevent.sleep(0)

    # ------------------------------------------------------------ reports become rows

    def under_way(self) -> int:
        """Return how many records have no row yet."""
        self._collect()
        return self.producer.open

    def give_up(self) -> None:
        """Take back what the producer still holds; WorkloadError if it does not say of each what became of it."""
        if not self.under_way():
            return
        self.producer.purge()
        deadline_ns = time.monotonic_ns() + ns(_PURGED_S)
        while self.under_way() and time.monotonic_ns() < deadline_ns:
            gevent.sleep(0.01)
        if left := self.under_way():
            raise WorkloadError(f"the producer never said what became of {left} records")

    def flush(self) -> None:
        """Write what has gathered; OSError where the disk is full."""
        self._collect()
        super().flush()

    def status(self, *, running: bool = True) -> dict[str, Any]:
        """Return the last second's status."""
        self._collect()
        self.trouble = self.trouble or self.producer.trouble
        return super().status(running=running)

    def _collect(self) -> None:
        for report in self.producer.reports():
            self.record((self._row(report),))

    def _row(self, report: Report[Sent]) -> Row:
        sent, (went, _) = report.sent, outcome(report.error, retried=self.settings.acks == ALL)
        return Row(
            *(sent.intended_ns, sent.call_ns, report.return_ns, sent.client),
            *(f"{self.settings.topic}/{report.partition}", "produce", ""),
            *(str(sent.draft.key), str(sent.draft.n)),
            revision=report.offset,
            outcome=went,
            error=f"{report.error}: {report.said}" if report.error else "",
        )

    # ------------------------------------------------------------ the end

    def read_back(self, timeout_s: float) -> bool:  # noqa: ARG002  the observer reads for all
        """Return True: no process alone knows what has to be read."""
        return True

    def facts(self) -> dict[str, Any]:
        """Return how many records were numbered, and the wall clock that they bear."""
        return {"records": self.keys.taken, "wall_ns": self.wall_ns}


class RecordsClient:
    """One user."""

    def __init__(self, traffic: RecordsTraffic, number: int) -> None:
        self._traffic, self._number = traffic, number

    def operate(self, intended_ns: int | None) -> None:
        """Send the record that is due; `intended_ns` is always given, records go at a rate."""
        traffic, call_ns = self._traffic, time.monotonic_ns()
        due_ns = call_ns if intended_ns is None else intended_ns
        draft = traffic.keys.draw()
        partition = draft.key % traffic.partitions
        wall_us = (due_ns + traffic.wall_ns) // 1000
        sent = Sent(due_ns, call_ns, self._number, draft)
        try:
            traffic.producer.send(b"%d" % draft.key, traffic.value(draft, wall_us), partition, wall_us // 1000, sent)
        except RefusedError as error:
            self._refused(sent, partition, error)
        else:
            traffic.keys.take(draft)

    def _refused(self, sent: Sent, partition: int, error: RefusedError) -> None:
        went, _ = outcome(error.error, retried=False)
        where = f"{self._traffic.settings.topic}/{partition}"
        times = (sent.intended_ns, sent.call_ns, time.monotonic_ns(), self._number)
        row = Row(*times, where, "produce", "", str(sent.draft.key), str(sent.draft.n), outcome=went, error=str(error))
        self._traffic.record((row,))


def _native_thread(run: Callable[[], None]) -> None:
    """Start a thread that gevent knows nothing of; it ends with the process."""
    get_original("_thread", "start_new_thread")(run, ())
