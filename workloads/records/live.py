"""A reader that follows topics while the run goes on, and notes when each record was first seen.

It keeps offsets and times only, 16 bytes a record: what the records say is read afterwards, whole.
"""

from __future__ import annotations

import threading
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from chaos.errors import WorkloadError
from workloads.records.reading import place_of, reader
from workloads.records.topics import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 1000
_TAKE_S = 0.1
_ENDS_S = 5.0


@dataclass(slots=True)
class _Partition:
    offsets: array[int] = field(default_factory=lambda: array("q"))
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    markers: set[bytes] = field(default_factory=set)

    def note(self, offset: int, now_ns: int) -> None:
        """Keep when an offset was first seen; one that comes again after a log was cut back does not count."""
        if not self.offsets or offset > self.offsets[-1]:
            self.offsets.append(offset)
            self.at_ns.append(now_ns)


class LiveReader:
    """Follows all partitions of some topics (name → partitions) from their beginning."""

    def __init__(self, bootstrap: str, topics: Mapping[str, int], isolation: str) -> None:
        self.trouble = ""
        self._places = {(topic, number): _Partition() for topic, count in topics.items() for number in range(count)}
        self._at_end: set[tuple[str, int]] = set()
        self._ending = threading.Event()
        self._consumer = Consumer({**reader(bootstrap, isolation), "auto.offset.reset": "earliest"})
        self._consumer.assign([TopicPartition(topic, number, 0) for topic, number in self._places])
        self._thread = threading.Thread(target=self._follow, name="live reader", daemon=True)
        self._thread.start()

    def wait(self, deadline_ns: int) -> None:
        """Wait until it stands at the end of every partition: what comes then is seen as it comes."""
        while len(self._at_end) < len(self._places):
            if time.monotonic_ns() > deadline_ns or self.trouble:
                late = ", ".join(f"{topic}/{n}" for topic, n in sorted(set(self._places) - self._at_end))
                raise WorkloadError(f"the live reader did not come to the end of {late}: {self.trouble or 'in time'}")
            time.sleep(0.02)

    def seen(self, topic: str) -> dict[int, Seen]:
        """Return, by partition, when the records of a topic were first seen."""
        return {
            number: Seen(np.array(part.offsets, np.int64), np.array(part.at_ns, np.int64))
            for (name, number), part in self._places.items()
            if name == topic
        }

    def markers(self, topic: str) -> int:
        """Return how many different end markers have come out on a topic."""
        found = (part.markers for (name, _), part in self._places.items() if name == topic)
        return len(set().union(*found))

    def stop(self) -> None:
        """End it; idempotent."""
        self._ending.set()
        self._thread.join(_ENDS_S)

    def _follow(self) -> None:
        try:
            while not self._ending.is_set():
                self._take()
            self._consumer.close()
        except Exception as error:  # noqa: BLE001  a thread that ends in silence would look like a log that stands still
            self.trouble = f"the live reader broke down: {error!r}"

    def _take(self) -> None:
        first = self._consumer.poll(_TAKE_S)  # returns as soon as there is one; consume would wait for a whole chunk
        now_ns = time.monotonic_ns()
        for message in () if first is None else (first, *self._consumer.consume(_CHUNK, 0)):
            error, (topic, partition, offset) = message.error(), place_of(message)
            place, key = (topic, partition), message.key() or b""
            if error is None:
                self._places[place].note(offset, now_ns)
                if key.startswith(b"-"):
                    self._places[place].markers.add(key)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  its name is public all the same
                self._at_end.add(place)
            elif error.fatal():
                self.trouble = f"the live reader can't go on: {error.str()}"
