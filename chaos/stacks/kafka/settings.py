"""A Kafka cluster's settings, and the files and the command line that each broker is started with. Pure.

kafka1 … each broker and controller at once:  :9092 clients and replication   :9093 the controllers' quorum (KRaft)

Kafka's own defaults are made for big machines and patient operators: a dead broker goes unnoticed for 9 s. Ours notice
in 2 s, and fit three brokers into half a gigabyte. Each value that differs stands beside the default it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  (the experiment's reader evaluates the annotations)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.model import Node, Process
from chaos.stacks.java import command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMPONENT = "kafka"  # the key of an experiment's `versions`
ROLES = ("broker", "controller", "leader-of", "client")
HELD_BY = {"controller": "broker", "leader-of": "broker"}  # roles that are found → the nodes that can hold them
OPERATIONS = ("restart", "replace")
CLIENT_PORT = 9092
CONTROLLER_PORT = 9093
PROCESS = "kafka"  # a broker's only process
MAIN = "kafka.Kafka"
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"  # any uuid will do: a lab's network holds one cluster
MEMORY = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:MaxMetaspaceSize=128m",
    "-XX:ReservedCodeCacheSize=48m",
    "-XX:MaxDirectMemorySize=64m",
    "-Xss512k",
)
OPTIONS = ("-XX:+ExitOnOutOfMemoryError", "-Dlog4j2.disable.jmx=true", "-Djava.awt.headless=true")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # org.apache.kafka.common.internals.Topic
_HEARTBEATS_A_SESSION = 4

ALWAYS: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",  # true: a misspelt name would be a topic with one replica
    "offsets.topic.num.partitions": 1,  # 50
    "transaction.state.log.num.partitions": 3,  # 50
    "share.coordinator.state.topic.num.partitions": 1,  # 50
    "group.initial.rebalance.delay.ms": 0,  # 3000
    # Failures are noticed soon.
    "controller.quorum.election.timeout.ms": 300,  # 1000
    "controller.quorum.fetch.timeout.ms": 600,  # 2000
    "controller.quorum.election.backoff.max.ms": 200,  # 1000
    "controller.quorum.request.timeout.ms": 600,  # 2000
    "replica.lag.time.max.ms": 2000,  # 30000
    "replica.fetch.wait.max.ms": 250,  # 500
    "replica.socket.timeout.ms": 2000,  # 30000
    "replica.fetch.backoff.ms": 100,  # 1000
    "request.timeout.ms": 2000,  # 30000
    "controller.socket.timeout.ms": 2000,  # 30000
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,  # 10000
    # Three fit on a small machine.
    "num.network.threads": 2,  # 3
    "num.io.threads": 2,  # 8
    "background.threads": 2,  # 10
    "num.recovery.threads.per.data.dir": 1,  # 2
    "log.cleaner.dedupe.buffer.size": 2 << 20,  # 128 MiB, of heap
    "log.cleaner.io.buffer.size": 64 << 10,  # 512 KiB
    "log.index.size.max.bytes": 1 << 20,  # 10 MiB
    "log.segment.bytes": 64 << 20,  # 1 GiB
    "socket.send.buffer.bytes": 64 << 10,  # 100 KiB
    "socket.receive.buffer.bytes": 64 << 10,  # 100 KiB
    "queued.max.requests": 100,  # 500
    "group.coordinator.threads": 1,  # 4
    "share.coordinator.threads": 1,  # 4
    "log.segment.delete.delay.ms": 1000,  # 60000
}
"""Names and defaults: kafka.apache.org/documentation, "Broker Configs"."""

LOG4J = """rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601_OFFSET_DATE_TIME_HHCMM} %-5p %c{1} - %m%n%ex
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """`topics` are made before anything else happens: name → partitions, with so many replicas and in-sync ones.

    A broker that has not sent its heartbeat for `session_s` loses its partitions. `min_in_sync` is how many replicas
    must hold a record before it is acknowledged (acks=all). `config` goes into every broker's server.properties last.
    """

    brokers: int = 3
    clients: int = 1
    topics: Mapping[str, int] = field(default_factory=lambda: {"in": 4})
    replicas: int | None = None  # None: three, or as many as there are brokers
    min_in_sync: int | None = None  # None: a majority of the replicas
    session_s: float = 2.0  # Kafka's default is 9 s
    heartbeat_s: float = 0.25  # 2 s
    cpu: float | None = None
    ready_s: float = 60.0
    config: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.brokers < 1:
            raise ValueError("brokers: a cluster has at least one")
        if self.clients < 1:
            raise ValueError("clients: traffic needs at least one client node")
        for name, partitions in self.topics.items():
            if not _TOPIC.fullmatch(name) or name in (".", ".."):
                raise ValueError(f"topics: {name!r} is no name of a topic; letters, digits, '.', '_' and '-' are")
            if int(partitions) < 1:
                raise ValueError(f"topics: {name} has at least one partition")
        if not 1 <= self.replication <= self.brokers:
            raise ValueError(f"replicas: each is on a broker of its own, and there are {self.brokers}")
        if not 1 <= self.in_sync <= self.replication:
            raise ValueError(f"min-in-sync: there are {self.replication} replicas; write 1 to {self.replication}")
        if self.session_s < _HEARTBEATS_A_SESSION * self.heartbeat_s:
            raise ValueError(f"session: write at least {_HEARTBEATS_A_SESSION} heartbeats, or a busy broker is dead")
        if self.cpu is not None and self.cpu <= 0:
            raise ValueError("cpu: more than no core; leave it out for no limit")

    @property
    def replication(self) -> int:
        """How many replicas each partition has."""
        return min(3, self.brokers) if self.replicas is None else self.replicas

    @property
    def in_sync(self) -> int:
        """How many of them must hold a record before it is acknowledged."""
        return self.replication // 2 + 1 if self.min_in_sync is None else self.min_in_sync


def broker_names(brokers: int) -> tuple[str, ...]:
    """Return the names of the brokers' nodes."""
    return tuple(f"kafka{number + 1}" for number in range(brokers))


def nodes(settings: Mapping[str, Any]) -> list[Node]:
    """Return the nodes that these settings want: brokers, then client nodes, without addresses."""
    names = dict.fromkeys(broker_names(settings["brokers"]), "broker")
    names |= {f"client{number + 1}": "client" for number in range(settings["clients"])}
    return [Node(name=name, role=role, address="") for name, role in names.items()]


def node_id(name: str) -> int:
    """Return the id by which the brokers know each other, from the name of a node."""
    return int(name.removeprefix("kafka"))


def server_properties(
    settings: KafkaSettings, name: str, endpoints: Mapping[str, str], quorum: Mapping[str, str], data: Path
) -> dict[str, str]:
    """Return server.properties of broker `name`; `endpoints` and `quorum` are node → host:port of its two listeners."""
    replicas, in_sync = settings.replication, settings.in_sync
    own = {
        "node.id": node_id(name),
        "log.dirs": data,
        "controller.quorum.voters": ",".join(f"{node_id(n)}@{address}" for n, address in quorum.items()),
        "listeners": f"PLAINTEXT://{endpoints[name]},CONTROLLER://{quorum[name]}",
        "advertised.listeners": f"PLAINTEXT://{endpoints[name]}",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "broker.session.timeout.ms": round(settings.session_s * 1000),
        "broker.heartbeat.interval.ms": round(settings.heartbeat_s * 1000),
    }
    return {key: str(value) for key, value in {**ALWAYS, **own, **settings.config}.items()}


def properties_text(properties: Mapping[str, str]) -> str:
    """Return the text of a Java properties file."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def meta_properties(name: str, directory: str) -> str:
    """Return meta.properties of a data folder, as `kafka-storage.sh format` writes it; `directory` is its own uuid."""
    return f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={node_id(name)}\ndirectory.id={directory}\n"


def broker_command(
    jars: Sequence[Path], folder: Path, *, archive: Path | None, more: Sequence[str] = ()
) -> Sequence[str]:
    """Return the command of a broker whose server.properties and log4j2.properties are in `folder`."""
    return command(
        MAIN,
        jars=jars,
        memory=MEMORY,
        options=(*OPTIONS, f"-Dlog4j2.configurationFile=file:{folder}/log4j2.properties", *more),
        archive=archive,
        arguments=[f"{folder}/server.properties"],
    )


def broker_process(argv: Sequence[str], folder: Path, log: Path) -> Process:
    """Return a broker's process."""
    return Process(name=PROCESS, argv=tuple(argv), cwd=str(folder), log=str(log))
