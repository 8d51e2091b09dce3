"""What an experiment may say of Kafka, Flink, the job between them, and etcd beside them. Pure.

stack:
  streaming:
    kafka: {brokers: 3}
    flink: {taskmanagers: 3, checkpoint: 1s, job: {name: keyed-count, parallelism: 2}}
    etcd: {members: 3}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from chaos.stacks.etcd import settings as etcd
from chaos.stacks.etcd.settings import EtcdSettings
from chaos.stacks.flink import jobs
from chaos.stacks.flink import settings as flink
from chaos.stacks.flink.settings import FlinkSettings
from chaos.stacks.kafka import settings as kafka
from chaos.stacks.kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from chaos.model import Node, StackAction

DEFAULT_JOB = "keyed-count"
OUTPUTS = {"output": "out", "windows": "win"}  # topics of that job, as the gate `ledger` calls them
ETCD_ROLES = {"member": "member", "etcd-leader": "leader", "etcd-follower": "follower"}  # here → in etcd's own stack
ROLES = tuple(dict.fromkeys((*kafka.ROLES, *flink.ROLES, *ETCD_ROLES)))
HELD_BY = {**kafka.HELD_BY, **flink.HELD_BY, "etcd-leader": "member", "etcd-follower": "member"}
OPERATIONS = tuple(dict.fromkeys((*kafka.OPERATIONS, *flink.OPERATIONS)))
OPERATIONS_ON = {
    **dict.fromkeys(flink.ROLES, flink.OPERATIONS),
    **dict.fromkeys(kafka.ROLES, kafka.OPERATIONS),
    **dict.fromkeys(ETCD_ROLES, etcd.OPERATIONS),
}
PROCESSES = (kafka.PROCESS, *flink.PROCESSES)
COMPONENTS = (kafka.COMPONENT, flink.COMPONENT, flink.JOB_COMPONENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSettings:
    """Kafka's settings, Flink's and, if it is to be there, etcd's, which lets everybody in.

    Client nodes are Kafka's. Topics that the job needs are made, named or not.
    """

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    flink: FlinkSettings = field(default_factory=FlinkSettings)
    etcd: EtcdSettings | None = None

    def __post_init__(self) -> None:
        if self.etcd is not None and (self.etcd.tls or self.etcd.user):
            raise ValueError("etcd: tls and user are for a stack of etcd alone; leave them out here")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> StreamingSettings:
        """Read `StackSpec.settings` (field names as keys); TypeError or ValueError saying what is wrong."""
        if foreign := set(settings) - {"kafka", "flink", "etcd"}:
            raise TypeError(f"{', '.join(sorted(foreign))}: no such setting; there are kafka, flink, etcd")
        ours, theirs, beside = settings.get("kafka", {}), settings.get("flink", {}), settings.get("etcd")
        return cls(
            kafka=ours if isinstance(ours, KafkaSettings) else KafkaSettings(**ours),
            flink=theirs if isinstance(theirs, FlinkSettings) else FlinkSettings.of(theirs),
            etcd=EtcdSettings.of(beside) if isinstance(beside, Mapping) else beside,
        )


def with_topics(settings: KafkaSettings, names: tuple[str, ...]) -> KafkaSettings:
    """Return the settings with these topics; those that are not named yet get as many partitions as the widest."""
    widest = max(settings.topics.values(), default=4)
    return replace(settings, topics={**dict.fromkeys(names, widest), **settings.topics})


def refuses(settings: Mapping[str, Any], action: StackAction) -> str:
    """Return why an operation can't be carried out with these settings; "" if it can."""
    return jobs.refuses(settings.get("flink", {}), action, DEFAULT_JOB)


def topics(settings: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the topics that there will be, and their partitions: those that are named, and those of the job."""
    read = StreamingSettings.of(settings)
    return with_topics(read.kafka, jobs.topics(read.flink.job.name or DEFAULT_JOB, read.flink.job.copies)).topics


def nodes(settings: Mapping[str, Any]) -> list[Node]:
    """Return the nodes that these settings want: brokers, Flink's servers, etcd's, clients; without addresses."""
    read = StreamingSettings.of(settings)
    brokers_and_clients = kafka.nodes(asdict(read.kafka))
    clients = [node for node in brokers_and_clients if node.role == flink.CLIENT]
    brokers = [node for node in brokers_and_clients if node.role != flink.CLIENT]
    members = etcd.nodes(asdict(read.etcd)) if read.etcd else []
    return [*brokers, *flink.servers(read.flink), *(node for node in members if node.role == "member"), *clients]


def serves(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the workloads that there are servers for."""
    return ("records",) if settings.get("etcd") is None else ("records", "kv")
