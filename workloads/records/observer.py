"""The observer of a load of records: follows what a job writes, and after the drain reads every topic whole.

open ─ live reader at the end of each topic ─▶ ready
drained ─▶ end markers ─▶ output at rest ─▶ each topic from 0 to its end ─▶ topics/<name>.arrow + .closed.json
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, Producer

from chaos.clock import NS, ns
from chaos.model import LoadStatus, to_json
from workloads.records import topics
from workloads.records.keys import marker, value
from workloads.records.live import LiveReader
from workloads.records.producer import configuration
from workloads.records.proof import closed
from workloads.records.reading import ends, partitions, read_whole
from workloads.records.settings import STOP_EARLY, RecordsSettings
from workloads.records.settling import Rest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workloads.assignment import Assignment

OPEN_S = 10.0
_COPY = re.compile(r"-(\d+)$")  # out-2: what a second copy of a job writes
LOOK_S = 0.25
MARKED_S = 5.0
LATER_MS = 60_000  # how much later than now a marker is dated: past every window, and what a job waits for late ones


class Observer:
    """Implements orders.Part, in a process of its own."""

    def __init__(self, assignment: Assignment) -> None:
        self.settings = RecordsSettings.of(assignment.load.settings)
        self._bootstrap = ",".join(assignment.endpoints.values())
        self._folder = Path(assignment.folder) / "topics"
        self._partitions: dict[str, int] = {}
        self._live: LiveReader | None = None
        self._cpu_s, self._said_ns = time.process_time(), time.monotonic_ns()

    @property
    def trouble(self) -> str:
        """Why it can't go on; "" if it can."""
        return self._live.trouble if self._live else ""

    def open(self) -> None:
        """Find the topics and follow those that a job writes; WorkloadError if one is not there."""
        deadline_ns = time.monotonic_ns() + ns(OPEN_S)
        self._partitions = partitions(self._bootstrap, self.settings.topics, deadline_ns)
        if self.settings.read:
            followed = {name: self._partitions[name] for name in self.settings.read}
            self._live = LiveReader(self._bootstrap, followed, self.settings.isolation)
            self._live.wait(deadline_ns)

    def go(self, epoch_ns: int) -> None:
        """Nothing: it follows since `open`."""

    def drain(self, timeout_s: float) -> None:
        """Nothing: the generators drain."""

    def read_back(self, timeout_s: float) -> bool:
        """Read every topic whole within `timeout_s`; say whether all is proved. OSError where the disk is full."""
        now_ns = time.monotonic_ns()
        deadline_ns = now_ns + ns(timeout_s)
        late = self._settle(min(deadline_ns, now_ns + ns(self.settings.settle_s)))
        if self._live:
            self._live.stop()
        whole = [self._read(topic, deadline_ns, late) for topic in self.settings.topics]
        return all(whole) and not late

    def close(self, *, final_reads_complete: bool) -> None:
        """Nothing: every topic was closed when it had been read."""

    def status(self, *, running: bool = True) -> dict[str, Any]:
        """Return what this process costs; it sends nothing."""
        now_ns, cpu_s = time.monotonic_ns(), time.process_time()
        share = (cpu_s - self._cpu_s) * NS / max(1, now_ns - self._said_ns)
        self._cpu_s, self._said_ns = cpu_s, now_ns
        running = running and not self.trouble
        data: dict[str, Any] = to_json(LoadStatus(at_ns=now_ns, running=running, cpu_share=share, why=self.trouble))
        return data

    # ------------------------------------------------------------ after the drain

    def _settle(self, deadline_ns: int) -> str:
        """Wait until the job's output is at rest; return what is missing at the deadline, "" for nothing."""
        sent = self._mark() if self.settings.markers else 0
        if not (self._live and self.settings.read):
            return ""
        rest = Rest(quiet_s=self.settings.quiet_s, markers_due=sent)
        while time.monotonic_ns() < deadline_ns:
            found = {
                topic: ends(self._bootstrap, topic, self._partitions[topic], deadline_ns)
                for topic in self.settings.read
            }
            if None in found.values() and time.monotonic_ns() >= deadline_ns:
                break  # our own time ran out while they were asked; what they said last stands
            markers = min(of_copies({topic: self._live.markers(topic) for topic in self.settings.read}).values())
            if rest.look(time.monotonic_ns(), found, markers):
                return ""
            time.sleep(LOOK_S)
        return rest.why

    def _mark(self) -> int:
        """Write an end marker into each partition of what is produced to; return how many there are."""
        settings = configuration(self._bootstrap, self.settings, MARKED_S)
        producer = Producer(settings)
        count, wall_ms = self._partitions[self.settings.topic], time.time_ns() // 1_000_000 + LATER_MS
        for partition in range(count):
            draft = marker(partition)
            with suppress(BufferError, KafkaException):  # one that is not written does not come out, and that is told
                producer.produce(
                    self.settings.topic, value(draft, wall_ms * 1000), b"%d" % draft.key, partition, timestamp=wall_ms
                )
        producer.flush(MARKED_S)
        return count

    def _read(self, topic: str, deadline_ns: int, late: str) -> bool:
        records, look = read_whole(
            self._bootstrap,
            topic,
            self._partitions[topic],
            isolation=self.settings.isolation,
            dense=topic == self.settings.topic,
            deadline_ns=deadline_ns,
            share=0.5 if self.settings.sabotage == STOP_EARLY else 1.0,
        )
        end = closed(look, late="" if topic == self.settings.topic else late)
        seen = self._live.seen(topic) if self._live else {}
        topics.write(self._folder, topic, topics.table(records, seen), end)
        return end.complete and end.settled


def of_copies(markers: Mapping[str, int]) -> dict[str, int]:
    """Return the end markers that each copy of a job has put out, in whichever of its topics there are most."""
    found: dict[str, int] = {}
    for topic, count in markers.items():
        copy = _COPY.search(topic)
        name = copy[0] if copy else ""
        found[name] = max(found.get(name, 0), count)
    return found
