"""Who is what, and what is missing, read from each broker's view. Pure.

    kafka1: active 2            ┐
    kafka2: active 2, epoch 7   ├─▶ kafka2 tells of the quorum, in the newest epoch: the active controller
    kafka3: active 2            ┘     its view of topics counts: it decides who leads a partition

A controller cut off from the others may take itself for the active one until it resigns: the highest epoch wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.stacks.kafka.settings import node_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.stacks.kafka.client import Metadata, Partition, View

    Views = Mapping[str, View]  # of the brokers that answered


def partition_of(argument: str) -> tuple[str, int]:
    """Return (topic, number) of "in/2"; UsageError for anything else."""
    topic, _, number = argument.rpartition("/")
    if not topic or not number.isdigit():
        raise UsageError(f"leader-of: {argument!r} is no partition; write topic/number, e.g. leader-of: in/2")
    return topic, int(number)


def active(views: Views) -> str | None:
    """Return the active controller's node, None if nobody says that it is."""
    epochs = {n: v.quorum.epoch for n, v in views.items() if v.quorum is not None and v.quorum.leader == node_id(n)}
    return max(epochs, key=epochs.__getitem__) if epochs else None


def has_quorum(views: Views, brokers: int) -> bool:
    """Whether more than half of `brokers` take the active controller for the active one."""
    first = active(views)
    return first is not None and sum(v.controller == node_id(first) for v in views.values()) > brokers // 2


def topics(views: Views) -> Mapping[str, Sequence[Partition]]:
    """Return the topics as the active controller's node sees them; empty without one."""
    first = active(views)
    return {} if first is None else views[first].metadata.topics


def leader_of(views: Views, topic: str, number: int) -> int | None:
    """Return the id of a partition's leader; None if nobody leads, or nobody can tell."""
    for partition in topics(views).get(topic, ()):
        if partition.index == number and partition.leader >= 0:
            return partition.leader
    return None


def led(views: Views) -> Iterator[tuple[str, Partition]]:
    """Yield (topic, partition) of what clients may read and write: internal topics begin with two underscores."""
    for topic, partitions in topics(views).items():
        if not topic.startswith("__"):
            yield from ((topic, partition) for partition in partitions)


# ---------------------------------------------------------------- what is missing; "" is hoped for


def not_together(views: Views, names: Sequence[str]) -> str:
    """Return why the brokers are no cluster yet: all answer, agree on a controller, and know of each other."""
    if silent := [name for name in names if name not in views]:
        return f"{', '.join(silent)}: no answer"
    first = active(views)
    if first is None:
        return "no controller is active"
    if astray := [name for name in names if views[name].controller != node_id(first)]:
        return f"{', '.join(astray)}: {first} is not its active controller"
    ids = {node_id(name) for name in names}
    if lonely := [name for name in names if not ids <= views[name].metadata.brokers]:
        return f"{', '.join(lonely)}: does not know of all brokers"
    return ""


def not_in_sync(found: Metadata) -> str:
    """Return which partitions have no leader or lack an in-sync replica."""
    lacking = [
        f"{topic}/{p.index}"
        for topic, partitions in found.topics.items()
        for p in partitions
        if p.leader < 0 or set(p.in_sync) != set(p.replicas)
    ]
    return f"not all replicas are in sync: {', '.join(lacking[:5])}{' …' if lacking[5:] else ''}" if lacking else ""


def lacking_topics(found: Metadata, wanted: Mapping[str, int]) -> str:
    """Return which topics, name → partitions, are not there yet, or lack a leader or a replica."""
    lacking = [name for name, partitions in wanted.items() if len(found.topics.get(name, ())) < partitions]
    return f"no topic {', '.join(lacking)}" if lacking else not_in_sync(found)


def not_back(views: Views, names: Sequence[str], name: str) -> str:
    """Return why a broker that was restarted is not back: in the cluster, in sync, and a voter that keeps up."""
    if why := not_together(views, names):
        return why
    first = active(views)
    assert first is not None
    if why := not_in_sync(views[first].metadata):
        return why
    told = views[first].quorum
    assert told is not None
    if told.log_ends.get(node_id(name), 0) < told.high_watermark:
        return f"{name}: the quorum's log ends at {told.log_ends.get(node_id(name))} of {told.high_watermark}"
    return ""
