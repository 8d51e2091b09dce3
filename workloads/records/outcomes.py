"""What an error of a producer says of its record: certainly not in the log, or perhaps.

    the producer never took it, or never sent it ─────────────▶ FAILED
    refused for what it is, however often it was tried ───────▶ FAILED
    refused before it was appended, and tried only once ──────▶ FAILED   (acks: 1)
    everything else ──────────────────────────────────────────▶ UNKNOWN

An idempotent producer tries again by itself, and reports the last error only: an earlier try may be in the log.
So a refusal that depends on the moment (a leader that moved) proves nothing there. Names are librdkafka's
(rdkafka.h, rd_kafka_resp_err_t; those that begin with _ never left the client as an answer of a broker); what a broker
had done by then: ReplicaManager.appendRecords and Partition.appendRecordsToLeader of Kafka 4.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

NEVER_SENT: Mapping[str, str] = {
    "_QUEUE_FULL": "the producer's queue was full",
    "_PURGE_QUEUE": "taken back before it was sent",
    "_TIMED_OUT_QUEUE": "waited too long for those before it to be sent",
    "_UNKNOWN_PARTITION": "there is no such partition to send it to",
    "_FATAL": "the producer had broken down before it took the record",
}
REFUSED_FOR_WHAT_IT_IS: Mapping[str, str] = {
    "MSG_SIZE_TOO_LARGE": "greater than the topic takes",
    "INVALID_RECORD": "the topic does not take such records",
    "INVALID_TIMESTAMP": "its time is out of the topic's bounds",
    "INVALID_REQUIRED_ACKS": "the broker knows no such acks",
}
REFUSED_BEFORE_APPENDING: Mapping[str, str] = {
    "NOT_LEADER_FOR_PARTITION": "the broker that was asked does not lead the partition",
    "UNKNOWN_TOPIC_OR_PART": "the broker that was asked does not know the partition",
    "LEADER_NOT_AVAILABLE": "the partition had no leader",
    "NOT_ENOUGH_REPLICAS": "too few replicas in sync, seen before appending",
    "TOPIC_AUTHORIZATION_FAILED": "not allowed, seen before appending",
    "CLUSTER_AUTHORIZATION_FAILED": "not allowed, seen before appending",
}


def outcome(error: str, *, retried: bool) -> tuple[Outcome, str]:
    """Return what a producer knows of a record after the error of this name ("": none), and why. Pure.

    `retried`: the producer may have tried more than once, as an idempotent one does.
    """
    if not error:
        return Outcome.OK, "acknowledged"
    if why := NEVER_SENT.get(error) or REFUSED_FOR_WHAT_IT_IS.get(error):
        return Outcome.FAILED, why
    if not retried and (why := REFUSED_BEFORE_APPENDING.get(error)):
        return Outcome.FAILED, why
    return Outcome.UNKNOWN, "it may have been appended"
