"""What an experiment may say of Kafka, Flink and the job between them. Pure.

stack:
  streaming:
    kafka: {brokers: 3}
    flink: {taskmanagers: 3, checkpoint: 1s, job: {name: keyed-count, parallelism: 2}}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from chaos.stacks.flink import settings as flink
from chaos.stacks.flink.settings import FlinkSettings
from chaos.stacks.kafka import settings as kafka
from chaos.stacks.kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.model import Node

DEFAULT_JOB = "keyed-count"
OUTPUTS = {"output": "out", "windows": "win"}  # topics of that job, as the gate `ledger` calls them
ROLES = tuple(dict.fromkeys((*kafka.ROLES, *flink.ROLES)))
HELD_BY = {**kafka.HELD_BY, **flink.HELD_BY}
OPERATIONS = tuple(dict.fromkeys((*kafka.OPERATIONS, *flink.OPERATIONS)))
PROCESSES = (kafka.PROCESS, *flink.PROCESSES)
COMPONENTS = (kafka.COMPONENT, flink.COMPONENT, flink.JOB_COMPONENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSettings:
    """Kafka's settings and Flink's; client nodes are Kafka's. Topics that the job needs are made, named or not."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    flink: FlinkSettings = field(default_factory=FlinkSettings)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> StreamingSettings:
        """Read `StackSpec.settings` (field names as keys); TypeError or ValueError saying what is wrong."""
        if foreign := set(settings) - {"kafka", "flink"}:
            raise TypeError(f"{', '.join(sorted(foreign))}: no such setting; there are kafka, flink")
        ours, theirs = settings.get("kafka", {}), settings.get("flink", {})
        return cls(
            kafka=ours if isinstance(ours, KafkaSettings) else KafkaSettings(**ours),
            flink=theirs if isinstance(theirs, FlinkSettings) else FlinkSettings.of(theirs),
        )


def with_topics(settings: KafkaSettings, names: tuple[str, ...]) -> KafkaSettings:
    """Return the settings with these topics; those that are not named yet get as many partitions as the widest."""
    widest = max(settings.topics.values(), default=4)
    return replace(settings, topics={**dict.fromkeys(names, widest), **settings.topics})


def nodes(settings: Mapping[str, Any]) -> list[Node]:
    """Return the nodes that these settings want: brokers, Flink's servers, clients; without addresses."""
    read = StreamingSettings.of(settings)
    brokers_and_clients = kafka.nodes(asdict(read.kafka))
    clients = [node for node in brokers_and_clients if node.role == flink.CLIENT]
    brokers = [node for node in brokers_and_clients if node.role != flink.CLIENT]
    return [*brokers, *flink.servers(read.flink), *clients]
