"""One producer of a process, and the thread that takes its reports.

    users ─send─▶ gathering.py ─a native thread─▶ librdkafka ─▶ brokers
    reports ◀──────── the same thread polls ◀──────────────────┘   collected by whoever asks, in the users' thread

gevent can't see into librdkafka: a poll in one of its greenlets would stop all of them. A record's fate is a `Report`.
"""

from __future__ import annotations

import json
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from confluent_kafka import KafkaException, Producer

from chaos.clock import ns
from chaos.errors import WorkloadError
from workloads.records.gathering import Gathering
from workloads.records.settings import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import KafkaError, Message

    from workloads.records.settings import RecordsSettings

T = TypeVar("T")

_POLL_S = 0.1
_TOGETHER_S = 0.002  # what is handed to librdkafka in one go should leave in one request
_ID_ASKED_EACH_MS = 250  # statistics alone tell when the broker has given an idempotent producer its id


class Report(NamedTuple, Generic[T]):
    """What became of a record; `sent` is what its sender gave along."""

    sent: T
    return_ns: int
    error: str  # its name in librdkafka; "": none
    said: str
    partition: int
    offset: int | None


class _Draft(NamedTuple, Generic[T]):
    key: bytes
    value: bytes
    timestamp_ms: int
    sent: T


class RefusedError(Exception):
    """The producer did not take a record; the text begins with the error's name in librdkafka."""

    def __init__(self, error: str, said: str) -> None:
        super().__init__(f"{error}: {said}")
        self.error = error


class RecordProducer(Generic[T]):
    """Sends without waiting. `start_thread` starts a native one, also where the interpreter is patched."""

    def __init__(
        self,
        bootstrap: str,
        settings: RecordsSettings,
        *,
        timeout_s: float,
        start_thread: Callable[[Callable[[], None]], Any],
    ) -> None:
        self.topic = settings.topic
        self.trouble = ""
        self.accepted = 0
        self._collected = 0
        self._settings, self._timeout_s = settings, timeout_s
        self._gathering: Gathering[_Draft[T]] | None = None
        self._purging = False
        self._has_id = settings.acks != ALL
        self._reports: deque[Report[T]] = deque()
        self._producer = Producer(
            configuration(bootstrap, settings, timeout_s),
            stats_cb=self._on_statistics,
            error_cb=self._on_error,
        )
        start_thread(self._poll_on)

    def connect(self, deadline_ns: int, pause: Callable[[float], None]) -> int:
        """Wait until it may send; return how many partitions there are. WorkloadError if there is no such topic."""
        count = 0
        while not (count and self._has_id):
            if time.monotonic_ns() > deadline_ns:
                what = f"no topic {self.topic!r} with leaders" if not count else "no producer id"
                raise WorkloadError(f"the brokers gave {what} in time; see that the stack makes the topic")
            count = count or self._partitions()
            pause(0.02)
        limits = {"most": self._settings.queue, "patience_ns": ns(self._timeout_s)}
        self._gathering = Gathering(partitions=count, **limits)
        return count

    def _partitions(self) -> int:
        try:
            topic = self._producer.list_topics(self.topic, timeout=1.0).topics[self.topic]
        except KafkaException:
            return 0
        led = topic.error is None and all(partition.leader >= 0 for partition in topic.partitions.values())
        return len(topic.partitions) if led else 0

    def send(self, key: bytes, value: bytes, partition: int, timestamp_ms: int, sent: T) -> None:
        """Hand over a record; RefusedError if it was not taken, and then no report comes."""
        assert self._gathering is not None, "connect first"
        if not self._gathering.add(_Draft(key, value, timestamp_ms, sent), partition, time.monotonic_ns()):
            raise RefusedError("_QUEUE_FULL", f"{self._settings.queue} records wait")
        self.accepted += 1

    def reports(self) -> Iterator[Report[T]]:
        """Yield the reports that have come since."""
        while self._reports:
            self._collected += 1
            yield self._reports.popleft()

    @property
    def open(self) -> int:
        """Return how many records were taken whose report was not collected."""
        return self.accepted - self._collected

    def purge(self) -> None:
        """Take back what waits and forget what is on its way; each record gets its report."""
        self._purging = True
        self._producer.purge()

    def _poll_on(self) -> None:
        """Pass records on and take reports, for as long as the process lives."""
        try:
            while True:
                self._producer.poll(max(_TOGETHER_S, self._settings.linger_s) if self._gathering else _POLL_S)
                if self._gathering:
                    self._pass_on(self._gathering)
        except Exception as error:  # noqa: BLE001  a thread that ends in silence would leave every record open
            self.trouble = f"reports are no longer taken: {error!r}"

    def _pass_on(self, gathering: Gathering[_Draft[T]]) -> None:
        gone, why = (
            (gathering.rest(), "_PURGE_QUEUE")
            if self._purging
            else (gathering.expired(time.monotonic_ns()), "_TIMED_OUT_QUEUE")
        )
        for partition, draft in gone:
            self._report(draft.sent, why, "it waited for the records before it", partition)
        for partition, draft in gathering.take():
            try:
                self._producer.produce(
                    self.topic,
                    draft.value,
                    draft.key,
                    partition,
                    partial(self._reported, partition, draft.sent),
                    timestamp=draft.timestamp_ms,
                )
            except BufferError as error:
                gathering.landed(partition)
                self._report(draft.sent, "_QUEUE_FULL", str(error), partition)
            except KafkaException as error:
                gathering.landed(partition)
                self._report(draft.sent, error.args[0].name(), error.args[0].str(), partition)

    def _reported(self, partition: int, sent: T, error: KafkaError | None, message: Message) -> None:
        assert self._gathering is not None
        self._gathering.landed(partition)
        if error is None:
            self._report(sent, "", "", partition, message.offset())
        else:
            self._report(sent, error.name(), error.str(), partition)

    def _report(self, sent: T, error: str, said: str, partition: int, offset: int | None = None) -> None:
        self._reports.append(Report(sent, time.monotonic_ns(), error, said, partition, offset))

    def _on_statistics(self, text: str) -> None:
        if not self._has_id:
            self._has_id = json.loads(text).get("eos", {}).get("idemp_state") == "Assigned"

    def _on_error(self, error: KafkaError) -> None:
        """Ignore it: what concerns a record is in its report, and the connection mends itself."""


def configuration(bootstrap: str, settings: RecordsSettings, timeout_s: float) -> dict[str, Any]:
    """Return librdkafka's settings (CONFIGURATION.md): its own back-offs would be what is measured after a fault."""
    timeout_ms = max(10, round(timeout_s * 1000))
    common = {
        "bootstrap.servers": bootstrap,
        "acks": settings.acks,
        "linger.ms": _TOGETHER_S * 1000,
        "message.timeout.ms": timeout_ms,
        "request.timeout.ms": timeout_ms,
        "queue.buffering.max.messages": settings.queue,
        "batch.num.messages": settings.queue,
        "queue.buffering.max.kbytes": 1 << 20,
        "socket.timeout.ms": 5000,
        "socket.connection.setup.timeout.ms": 2000,
        "socket.nagle.disable": True,
        "retry.backoff.ms": 20,
        "retry.backoff.max.ms": 200,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "topic.metadata.refresh.interval.ms": 2000,
        "topic.metadata.refresh.fast.interval.ms": 50,
        "statistics.interval.ms": _ID_ASKED_EACH_MS,
        "log_level": 2,
    }
    if settings.acks == ALL:
        return {**common, "enable.idempotence": True}
    once = {"enable.idempotence": False, "message.send.max.retries": 0}  # a second try could be a second record
    return {**common, **once, "socket.timeout.ms": timeout_ms}
