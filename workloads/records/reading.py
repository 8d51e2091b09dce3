"""Topics as they are: where they end, and every record from the first to there. A fresh client for each question.

A client that has lived through changes of leaders may answer from what it remembers (FENCED_LEADER_EPOCH), so none is
asked twice; and one that is collected while its answer is under way never gives it, so each is held until then.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # exported all the same

from chaos.clock import NS
from chaos.errors import WorkloadError
from workloads.records.proof import Ends, Look
from workloads.records.settings import READ_COMMITTED
from workloads.records.topics import Records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confluent_kafka import Message

CLIENT = {  # librdkafka's CONFIGURATION.md; its defaults wait for seconds after a fault
    "socket.timeout.ms": 5000,
    "socket.connection.setup.timeout.ms": 2000,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "topic.metadata.refresh.interval.ms": 1000,
    "topic.metadata.refresh.fast.interval.ms": 50,
    "log_level": 2,
}
READER = {
    "group.id": "chaosgate",  # librdkafka wants one; nothing is committed and nobody joins
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.wait.max.ms": 50,
    "fetch.error.backoff.ms": 50,
}
_ASK_S = 3.0
_PAUSE_S = 0.1
_CHUNK = 5000
_TAKE_S = 0.2


def partitions(bootstrap: str, topics: Sequence[str], deadline_ns: int) -> dict[str, int]:
    """Return how many partitions each topic has; WorkloadError naming those that nobody knows."""
    while True:
        try:
            known = AdminClient({"bootstrap.servers": bootstrap, **CLIENT}).list_topics(timeout=_ASK_S).topics
        except KafkaException:
            known = {}
        if not (missing := [name for name in topics if name not in known or not known[name].partitions]):
            return {name: len(known[name].partitions) for name in topics}
        if time.monotonic_ns() > deadline_ns:
            raise WorkloadError(f"no topic {', '.join(missing)} in time; see that the stack makes it")
        time.sleep(_PAUSE_S)


def ends(bootstrap: str, topic: str, count: int, deadline_ns: int) -> Ends | None:
    """Ask where each of `count` partitions begins and ends, again and again; None if nobody says until the deadline."""
    while True:
        try:
            return _ends(bootstrap, [TopicPartition(topic, number) for number in range(count)])
        except (KafkaException, TimeoutError):
            if time.monotonic_ns() > deadline_ns:
                return None
            time.sleep(_PAUSE_S)


def _ends(bootstrap: str, places: Sequence[TopicPartition]) -> Ends:
    earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent's
    admin = AdminClient({"bootstrap.servers": bootstrap, **CLIENT})

    def offsets(spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, int]:
        asked = dict.fromkeys(places, spec)
        answers = admin.list_offsets(asked, isolation_level=isolation, request_timeout=_ASK_S)
        return {place.partition: answer.result(2 * _ASK_S).offset for place, answer in answers.items()}

    # The stable offset first: where nothing moves, the order does not matter; where it does, high is never below it.
    return Ends(
        begin=offsets(earliest, IsolationLevel.READ_UNCOMMITTED),
        last_stable=offsets(latest, IsolationLevel.READ_COMMITTED),
        high=offsets(latest, IsolationLevel.READ_UNCOMMITTED),
    )


def read_whole(
    bootstrap: str,
    topic: str,
    count: int,
    *,
    isolation: str = READ_COMMITTED,
    dense: bool = False,
    deadline_ns: int,
    share: float = 1.0,
) -> tuple[Records, Look]:
    """Read a topic of `count` partitions from its beginning to its end; what keeps it from that is in the Look.

    `share` is a sabotage's: a reader that stops after so much of it, and takes that for the end.
    """
    before = ends(bootstrap, topic, count, deadline_ns)
    records, reached, trouble = Records(), dict[int, int](), ""
    if before is not None:
        records, reached, trouble = _read(bootstrap, topic, before.of(isolation), isolation, deadline_ns)
    if share < 1:
        records.cut(int(len(records) * share))
        reached = records.reached()
    look = Look(
        topic=topic,
        isolation=isolation,
        before=before,
        after=None if before is None else ends(bootstrap, topic, count, deadline_ns + NS),
        reached=reached,
        records=dict(Counter(records.columns["partition"])),
        dense=dense,
        trouble=trouble,
    )
    return records, look


def _read(
    bootstrap: str,
    topic: str,
    end: Mapping[int, int],
    isolation: str,
    deadline_ns: int,
) -> tuple[Records, dict[int, int], str]:
    records, reached, trouble = Records(), dict[int, int](), ""
    consumer = Consumer({**reader(bootstrap, isolation), "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(topic, number, 0) for number in end])
    try:
        while not trouble and any(reached.get(number, -1) < offset for number, offset in end.items()):
            trouble = _take(consumer, records, reached)
            if not trouble and time.monotonic_ns() > deadline_ns:
                trouble = f"{topic}: time was up after {len(records)} records"
    finally:
        consumer.close()
    return records, reached, trouble


def _take(consumer: Consumer, records: Records, reached: dict[int, int]) -> str:
    """Take what has come; return what makes going on useless, "" for nothing."""
    for message in consumer.consume(_CHUNK, _TAKE_S):
        error, (_, partition, offset) = message.error(), place_of(message)
        if error is None:
            records.add(partition, offset, message.timestamp()[1], message.value())
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  its name is public all the same
            reached[partition] = offset
        elif error.fatal() or error.code() in _USELESS:
            return f"{message.topic()}/{message.partition()}: {error.str()}"
    return ""


# A record that fails its checksum, and an offset that is gone, stay so however often they are asked for.
_USELESS = (KafkaError._BAD_MSG, KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001


def place_of(message: Message) -> tuple[str, int, int]:
    """Return topic, partition and offset of a message; -1 for what an error that concerns no partition lacks."""
    partition, offset = message.partition(), message.offset()
    return message.topic() or "", -1 if partition is None else partition, -1 if offset is None else offset


def reader(bootstrap: str, isolation: str) -> dict[str, Any]:
    """Return the configuration of a consumer that commits nothing."""
    return {"bootstrap.servers": bootstrap, "isolation.level": isolation, **CLIENT, **READER}
