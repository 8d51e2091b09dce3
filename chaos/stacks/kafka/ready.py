"""Whether records can be written, by writing one to each partition of a topic made for that.

Not of the experiment's topics: whoever judges those wants to know every record in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

READY_TOPIC = "chaosgate-ready"
_CLIENT: Mapping[str, str | int] = {
    "acks": "all",
    "linger.ms": 0,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "retry.backoff.ms": 20,
    "topic.metadata.refresh.fast.interval.ms": 20,
    "log_level": 0,  # what fails is told by the delivery reports
}


def not_writable(bootstrap: str, topic: str, partitions: int, timeout_s: float) -> str:
    """Write a record to each partition with acks=all; return why one was not acknowledged, "" if all were.

    The producer's native threads are made by the calling thread, and so stay in the network that it has entered.
    """
    from confluent_kafka import Producer  # noqa: PLC0415 — a plan needs no Kafka client

    errors: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            errors.append(str(error))

    limit = {"bootstrap.servers": bootstrap, "message.timeout.ms": round(timeout_s * 1000)}
    producer = Producer({**_CLIENT, **limit})
    for partition in range(partitions):
        producer.produce(topic, b"ready", partition=partition, on_delivery=delivered)
    left = producer.flush(timeout_s)
    if errors or left:
        return f"a record written to {topic} was not acknowledged: {errors[0] if errors else 'no answer'}"
    return ""
