"""What can be asked of a broker, and of all brokers at once.

              ┌─ thread, entered ── :9092 metadata, :9093 who is the active controller? ──▶ kafka1
    look()  ──┼─ thread, entered ──                                                     ──▶ kafka2
              └─ thread, entered ──                                                     ──▶ kafka3

Silent brokers cost one timeout together; a refusal is an answer too, as a value.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, TypeVar

from chaos.stacks.kafka.wire import (
    NO_TAGS,
    KafkaError,
    Reader,
    Wire,
    array,
    checked,
    compact_array,
    compact_string,
    int8,
    int16,
    int32,
    int64,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Answer = TypeVar("Answer")

_LIST_OFFSETS, _METADATA, _CREATE_TOPICS, _DESCRIBE_QUORUM, _DESCRIBE_CLUSTER = 2, 3, 19, 55, 60
_CONTROLLERS = 2  # EndpointType: the answer is about controllers
_QUORUM_TOPIC = "__cluster_metadata"
_EXISTS = 36
_READ_COMMITTED = 1
_LATEST = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition as a broker sees it; `leader` -1: nobody leads."""

    index: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a broker says of the cluster: ids of the brokers that are alive, topics with their partitions."""

    brokers: frozenset[int]
    topics: Mapping[str, Sequence[Partition]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """What the active controller says of its quorum (KIP-595): its epoch, and how far each voter's log goes."""

    leader: int
    epoch: int
    high_watermark: int
    log_ends: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One broker's view. `controller`: whom it takes for the active controller, -1 for nobody.

    `quorum` is told by the active controller alone.
    """

    metadata: Metadata
    controller: int
    quorum: Quorum | None = None


# ---------------------------------------------------------------- one broker


def metadata(wire: Wire) -> Metadata:
    """Ask for brokers and all topics (Metadata v8)."""
    answer = wire.call(_METADATA, 8, int32(-1) + int8(0) * 3)
    answer.int32()  # throttled for

    def broker() -> int:
        number, _, _, _ = answer.int32(), answer.string(), answer.int32(), answer.string()
        return number

    brokers = frozenset(answer.array(broker))
    answer.string()  # cluster id
    answer.int32()  # in KRaft any broker stands here as the controller
    return Metadata(brokers=brokers, topics=dict(answer.array(partial(_topic, answer))))


def _topic(answer: Reader) -> tuple[str, Sequence[Partition]]:
    answer.int16()  # error: its partitions are then without leader
    name = answer.string()
    answer.int8()  # internal?
    partitions = sorted(answer.array(partial(_partition, answer)), key=lambda partition: partition.index)
    answer.int32()  # operations
    return name, tuple(partitions)


def _partition(answer: Reader) -> Partition:
    answer.int16()  # error
    index, leader, _ = answer.int32(), answer.int32(), answer.int32()
    replicas, in_sync, _ = (tuple(answer.array(answer.int32)) for _ in range(3))
    return Partition(index=index, leader=leader, replicas=replicas, in_sync=in_sync)


def controller(wire: Wire) -> int:
    """Ask a controller's port who is the active one; -1 if it knows of none (DescribeCluster v1, KIP-919)."""
    body = int8(0) + int8(_CONTROLLERS) + NO_TAGS
    answer = wire.call(_DESCRIBE_CLUSTER, 1, body, flexible=True)
    answer.int32()
    code, message = answer.int16(), answer.compact_string()
    checked(code, f"{wire.endpoint}: who is the controller?", message)
    answer.int8()
    answer.compact_string()
    return answer.int32()


def quorum(wire: Wire) -> Quorum:
    """Ask a controller's port about the quorum; KafkaError of any but the active one (DescribeQuorum v0)."""
    partition = compact_array([int32(0) + NO_TAGS])
    body = compact_array([compact_string(_QUORUM_TOPIC) + partition + NO_TAGS]) + NO_TAGS
    answer = wire.call(_DESCRIBE_QUORUM, 0, body, flexible=True)
    checked(answer.int16(), f"{wire.endpoint}: the quorum")
    found = answer.compact_array(partial(_quorum_topic, answer, wire.endpoint))
    return found[0][0]


def _quorum_topic(answer: Reader, endpoint: str) -> list[Quorum]:
    answer.compact_string()
    found = answer.compact_array(partial(_quorum_partition, answer, endpoint))
    answer.tags()
    return found


def _quorum_partition(answer: Reader, endpoint: str) -> Quorum:
    answer.int32()
    checked(answer.int16(), f"{endpoint}: the quorum")
    leader, epoch, high_watermark = answer.int32(), answer.int32(), answer.int64()
    voters = answer.compact_array(partial(_replica, answer))
    answer.compact_array(partial(_replica, answer))  # observers
    answer.tags()
    return Quorum(leader=leader, epoch=epoch, high_watermark=high_watermark, log_ends=dict(voters))


def _replica(answer: Reader) -> tuple[int, int]:
    number, log_end = answer.int32(), answer.int64()
    answer.tags()
    return number, log_end


def create_topic(
    wire: Wire, name: str, *, partitions: int, replicas: int, config: Mapping[str, str], timeout_s: float
) -> None:
    """Make a topic; content to find it there already. KafkaError if it is refused (CreateTopics v4)."""
    settings = array([string(key) + string(value) for key, value in config.items()])
    topic = string(name) + int32(partitions) + int16(replicas) + array([]) + settings
    answer = wire.call(_CREATE_TOPICS, 4, array([topic]) + int32(round(timeout_s * 1000)) + int8(0))
    answer.int32()

    def made() -> tuple[int, str]:
        answer.string()
        return answer.int16(), answer.string()

    for code, message in answer.array(made):
        if code != _EXISTS:
            checked(code, f"topic {name}", message)


def end_offsets(wire: Wire, asked: Mapping[str, Sequence[int]], *, stable: bool) -> dict[tuple[str, int], int]:
    """Ask a leader where its partitions end: the last stable offset or the high watermark (ListOffsets v5).

    Partitions that it does not lead are left out.
    """
    topics = [
        string(name) + array([int32(index) + int32(-1) + int64(_LATEST) for index in indexes])
        for name, indexes in asked.items()
    ]
    answer = wire.call(_LIST_OFFSETS, 5, int32(-1) + int8(_READ_COMMITTED if stable else 0) + array(topics))
    answer.int32()

    def partition() -> tuple[int, int, int]:
        index, code, _ = answer.int32(), answer.int16(), answer.int64()
        offset, _ = answer.int64(), answer.int32()
        return index, code, offset

    def topic() -> tuple[str, list[tuple[int, int, int]]]:
        return answer.string(), answer.array(partition)

    return {(name, index): offset for name, found in answer.array(topic) for index, code, offset in found if not code}


# ---------------------------------------------------------------- all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """The brokers of a cluster and how to reach them; `endpoints` and `quorum` are node → host:port.

    `entered` makes the calling thread's sockets belong to a network from which the brokers are reachable.
    """

    endpoints: Mapping[str, str]
    quorum: Mapping[str, str]
    entered: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)

    @property
    def bootstrap(self) -> str:
        """Return what clients call bootstrap.servers."""
        return ",".join(self.endpoints.values())

    def ask_one(self, node: str, question: Callable[[Wire], Answer], timeout_s: float) -> Answer:
        """Ask one broker; KafkaError if it refuses or does not answer."""
        with self.entered(), Wire(self.endpoints[node], timeout_s=timeout_s) as wire:
            return question(wire)

    def ask(
        self, question: Callable[[str], Answer], timeout_s: float, nodes: Sequence[str] = ()
    ) -> dict[str, Answer | KafkaError]:
        """Ask `nodes` (all, if empty), each by its name; within `timeout_s` return each one's answer or its error."""
        asked = tuple(nodes or self.endpoints)
        pool = ThreadPoolExecutor(max_workers=max(1, len(asked)), thread_name_prefix="kafka-ask")
        try:
            futures = {node: pool.submit(question, node) for node in asked}
            wait(futures.values(), timeout=timeout_s)
            return dict(zip(asked, map(_result, asked, futures.values(), repeat(timeout_s)), strict=True))
        finally:
            pool.shutdown(wait=False)  # the slow ones end by their own timeouts; nobody reads them any more

    def look(self, timeout_s: float) -> dict[str, View | KafkaError]:
        """Ask every broker for its view."""
        return self.ask(partial(self._view, timeout_s=timeout_s), timeout_s)

    def _view(self, node: str, timeout_s: float) -> View:
        """Ask the broker first: its port opens last, and a controller that is asked while it starts logs an error."""
        seen = self.ask_one(node, metadata, timeout_s)
        with self.entered(), Wire(self.quorum[node], timeout_s=timeout_s) as wire:
            active = controller(wire)
            try:
                told = quorum(wire)
            except KafkaError as refusal:
                if not refusal.code:
                    raise
                told = None
        return View(metadata=seen, controller=active, quorum=told)


def views(answers: Mapping[str, Answer | KafkaError]) -> dict[str, Answer]:
    """Return the answers without the errors."""
    return {node: answer for node, answer in answers.items() if not isinstance(answer, KafkaError)}


def _result(node: str, future: Future[Answer], timeout_s: float) -> Answer | KafkaError:
    if not future.done():
        return KafkaError(f"{node}: no answer within {timeout_s:g} s")
    try:
        return future.result()
    except KafkaError as error:
        return error
