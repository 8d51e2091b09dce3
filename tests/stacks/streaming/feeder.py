"""Feeds numbered records for some time, then end markers; or reads topics whole. A process of its own on a lab.

feeder.py feed BROKERS RATE SECONDS       until then, or until its standard input ends; prints {"acked": n}
feeder.py read BROKERS TOPIC …            prints {topic: [[partition, offset, timestamp, value], …]}, committed only
"""

from __future__ import annotations

import json
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

KEYS, PARTITIONS = 20, 4
MARKER_LATER_MS = 30_000


def feed(brokers: str, rate: float, seconds: float) -> None:
    acked = []
    producer = Producer({"bootstrap.servers": brokers, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    began, sent = time.time(), 0
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
    while (passed := time.time() - began) < seconds and not told.is_set():
        while sent < passed * rate:
            key, n = sent % KEYS, sent // KEYS
            at_ms = int((began + sent / rate) * 1000)
            value = json.dumps({"k": str(key), "n": n, "t": at_ms * 1000})
            place = {"key": str(key), "partition": key % PARTITIONS, "timestamp": at_ms}
            producer.produce("in", value, **place, on_delivery=lambda error, _: acked.append(error is None))
            sent += 1
        producer.poll(0)
        time.sleep(0.005)
    producer.flush(60)
    for partition in range(PARTITIONS):
        at_ms = int(time.time() * 1000) + MARKER_LATER_MS
        value = json.dumps({"k": str(-1 - partition), "n": 0, "t": at_ms * 1000})
        producer.produce("in", value, key=str(-1 - partition), partition=partition, timestamp=at_ms)
    producer.flush(30)
    sys.stdout.write(json.dumps({"sent": sent, "acked": sum(acked)}))


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
    if sys.argv[1] == "feed":
        feed(sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    else:
        read(sys.argv[2], sys.argv[3:])
