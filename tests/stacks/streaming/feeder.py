"""Feeds events of the auction house, then end markers; or reads topics whole. A process of its own on a lab.

feeder.py nexmark BROKERS COUNT STEP_MS   one event each STEP_MS of event time; prints {"sent": n, "acked": n}
feeder.py read BROKERS TOPIC …            prints {topic: [[partition, offset, timestamp, value], …]}, committed only
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[3]))

from workloads.records import nexmark

KEYS, PARTITIONS = 20, 4
MARKER_LATER_MS = 30_000


def feed_events(brokers: str, count: int, step_ms: int) -> None:
    feeding = Feeding(brokers)
    began_ms = int(time.time() * 1000)
    while feeding.sent < count:
        feeding.send(began_ms + feeding.sent * step_ms)
    feeding.end(began_ms + count * step_ms)


class Feeding:
    """Records by turns to every key, and what became of them."""

    def __init__(self, brokers: str) -> None:
        settings = {"bootstrap.servers": brokers, "acks": "all", "enable.idempotence": True, "linger.ms": 5}
        self.producer, self.sent, self.acked = Producer(settings), 0, 0

    def send(self, at_ms: int) -> None:
        key, n = self.sent % KEYS, self.sent // KEYS
        value = json.dumps({"k": str(key), "n": n, "t": at_ms * 1000} | nexmark.event(self.sent, at_ms))
        place = {"key": str(key), "partition": key % PARTITIONS, "timestamp": at_ms}
        self.producer.produce("in", value, **place, on_delivery=self._answered)
        self.sent += 1

    def end(self, at_ms: int) -> None:
        """Send the end markers, and tell."""
        self.producer.flush(60)
        later_ms = at_ms + MARKER_LATER_MS
        for partition in range(PARTITIONS):
            value = json.dumps({"k": str(-1 - partition), "n": 0, "t": later_ms * 1000})
            self.producer.produce("in", value, key=str(-1 - partition), partition=partition, timestamp=later_ms)
        self.producer.flush(30)
        sys.stdout.write(json.dumps({"sent": self.sent, "acked": self.acked}))

    def _answered(self, error: KafkaError | None, _: object) -> None:
        self.acked += error is None


def read(brokers: str, topics: list[str]) -> None:
    settings = {"bootstrap.servers": brokers, "group.id": "test", "isolation.level": "read_committed"}
    consumer = Consumer({**settings, "enable.auto.commit": False, "enable.partition.eof": True})
    found: dict[str, list[object]] = {topic: [] for topic in topics}
    places = [TopicPartition(topic, partition, 0) for topic in topics for partition in range(PARTITIONS)]
    consumer.assign(places)
    at_end: set[tuple[str, int]] = set()
    deadline = time.time() + 60
    while len(at_end) < len(places) and time.time() < deadline:
        for message in consumer.consume(5000, 0.2):
            place = (message.topic(), message.partition())
            if message.error() is None:
                row = [message.partition(), message.offset(), message.timestamp()[1], json.loads(message.value())]
                found[message.topic()].append(row)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                at_end.add(place)
    consumer.close()
    assert len(at_end) == len(places), "not read to the end"
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "nexmark":
        feed_events(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        read(sys.argv[2], sys.argv[3:])
