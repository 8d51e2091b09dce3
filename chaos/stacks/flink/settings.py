"""A Flink cluster's settings, the configuration file of each of its processes, and its nodes. Pure.

    zookeeper1 ── who leads ──┬── jobmanager1 ◀─ REST ─ us
                              └── jobmanager2 (standby)
    jobmanager ── tasks ──▶ taskmanager1 … 3 ── checkpoints ──▶ a folder that all of them see

Every option of Flink that is set here is, without a word, at its default. Its memory has to be given in full: the
scripts of Flink's own distribution would compute it, and none of them runs here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.model import Node
from chaos.stacks.flink import store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COMPONENT = "flink"
JOB_COMPONENT = "job"  # `--version job=v2`: which text of the job is submitted
JOBMANAGER, TASKMANAGER, ZOOKEEPER, CLIENT = "jobmanager", "taskmanager", "zookeeper", "client"
STORE = store.STORE
LEADER, RUNNING = "leader", "running"
ROLES = (JOBMANAGER, LEADER, TASKMANAGER, RUNNING, ZOOKEEPER, STORE, CLIENT)
HELD_BY = {LEADER: JOBMANAGER, RUNNING: TASKMANAGER}  # roles that are found → the nodes that can hold them
OF_THE_JOB = ("savepoint-upgrade", "rescale", "resubmit")
OPERATIONS = ("restart", *OF_THE_JOB)
PROCESSES = (JOBMANAGER, TASKMANAGER, ZOOKEEPER, STORE)

REST_PORT = 8081
ZOOKEEPER_PORT = 2181
_RPC_PORT, _BLOB_PORT, _TASK_RPC_PORT, _DATA_PORT = 6123, 6124, 6122, 6121

DEFAULT_SCHEDULER, ADAPTIVE = "default", "adaptive"
SCHEDULERS = (DEFAULT_SCHEDULER, ADAPTIVE)
EXACTLY_ONCE, AT_LEAST_ONCE = "exactly-once", "at-least-once"
GUARANTEES = (EXACTLY_ONCE, AT_LEAST_ONCE)
EARLIEST, LATEST = "earliest", "latest"
STARTS = (EARLIEST, LATEST)


def _one_of(key: str, value: str, there: Sequence[str]) -> None:
    if value not in there:
        raise ValueError(f"{key}: no such one as '{value}'; there are {', '.join(there)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What runs: a text of workloads/jobs by `name`, "" for what the stack runs if nobody says.

    `guarantee` and `transaction_timeout_s` are those of its sink, `start` is where its source begins without state.
    `lateness_s`: how far behind the newest record's time a record may be and still count in its window. A broker that
    was down answers seconds late; end markers have to be later than that. `copies` of the job run side by side, each on
    its own: the second writes out-2 where the first writes out.
    """

    name: str = ""
    parallelism: int = 2
    guarantee: str = EXACTLY_ONCE
    start: str = EARLIEST
    transaction_timeout_s: float = 60.0
    lateness_s: float = 5.0
    copies: int = 1
    keep_state: bool = True  # false: an upgrade may drop state that finds no place in the new plan, and say nothing

    def __post_init__(self) -> None:
        if self.parallelism < 1:
            raise ValueError("parallelism: a job has at least one task")
        if self.copies < 1:
            raise ValueError("copies: 1 for a job that runs alone")
        _one_of("guarantee", self.guarantee, GUARANTEES)
        _one_of("start", self.start, STARTS)
        if self.transaction_timeout_s <= 0:
            raise ValueError("transaction-timeout: more than no time")

    @property
    def tasks(self) -> int:
        """How many slots all copies need."""
        return self.parallelism * self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class FlinkSettings:
    """Three TaskManagers of two slots: when one is gone, the others can carry the job at once.

    Heartbeats and sessions suit a network of one machine: a TaskManager's death costs seconds. `checkpoint_s` 0: no
    checkpoints. `store`: checkpoints and savepoints go to a node of their own, by S3; else to a folder that all nodes
    see as their own disk. `restarts: false`: a job that fails stays failed. `config` are options of Flink by their full
    names, and go before everything that is set here. `cpu` is in cores a TaskManager.
    """

    taskmanagers: int = 3
    slots: int = 2
    store: bool = False
    standby: bool = True  # a second JobManager, and ZooKeeper to choose between them
    clients: int = 1
    checkpoint_s: float = 1.0
    checkpoint_timeout_s: float = 20.0
    restarts: bool = True
    scheduler: str = DEFAULT_SCHEDULER
    heartbeat_s: float = 0.5
    heartbeat_timeout_s: float = 2.5
    session_s: float = 3.0  # of ZooKeeper: how long a dead leader counts as the leader
    cpu: float | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    job: JobSettings = JobSettings()
    ready_s: float = 90.0

    def __post_init__(self) -> None:
        if self.taskmanagers < 1:
            raise ValueError("taskmanagers: a job runs on at least one")
        if self.slots < 1:
            raise ValueError("slots: a TaskManager offers at least one")
        if self.clients < 1:
            raise ValueError("clients: traffic needs at least one client node")
        if self.job.tasks > self.taskmanagers * self.slots:
            there = self.taskmanagers * self.slots
            raise ValueError(f"parallelism {self.job.tasks}: there are {there} slots; more slots would do")
        if self.heartbeat_timeout_s <= self.heartbeat_s:
            raise ValueError("heartbeat-timeout: longer than a heartbeat")
        if self.checkpoint_s < 0:
            raise ValueError("checkpoint: an interval, or 0 for none")
        if self.cpu is not None and self.cpu <= 0:
            raise ValueError("cpu: more than no core; leave it out for no limit")
        _one_of("scheduler", self.scheduler, SCHEDULERS)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> FlinkSettings:
        """Read `StackSpec.settings` (field names as keys); TypeError or ValueError saying what is wrong."""
        job = settings.get("job", {})
        return cls(**{**settings, "job": job if isinstance(job, JobSettings) else JobSettings(**job)})

    @property
    def jobmanager_names(self) -> tuple[str, ...]:
        """Name the JobManagers' nodes."""
        return _numbered(JOBMANAGER, 2 if self.standby else 1)

    @property
    def taskmanager_names(self) -> tuple[str, ...]:
        """Name the TaskManagers' nodes."""
        return _numbered(TASKMANAGER, self.taskmanagers)

    @property
    def zookeeper_names(self) -> tuple[str, ...]:
        """Name ZooKeeper's node; none without a standby, who would need it."""
        return _numbered(ZOOKEEPER, 1 if self.standby else 0)

    @property
    def store_names(self) -> tuple[str, ...]:
        """Name the checkpoint store's node, if there is one."""
        return _numbered(STORE, 1 if self.store else 0)


def _numbered(role: str, count: int) -> tuple[str, ...]:
    return tuple(f"{role}{number + 1}" for number in range(count))


def servers(settings: FlinkSettings) -> list[Node]:
    """Return the nodes that Flink runs on, without addresses."""
    named = {
        STORE: settings.store_names,
        ZOOKEEPER: settings.zookeeper_names,
        JOBMANAGER: settings.jobmanager_names,
        TASKMANAGER: settings.taskmanager_names,
    }
    return [Node(name=name, role=role, address="") for role, names in named.items() for name in names]


def nodes(settings: Mapping[str, Any]) -> list[Node]:
    """Return the nodes that these settings want: Flink's, then client nodes, without addresses."""
    read = FlinkSettings.of(settings)
    clients = [Node(name=name, role=CLIENT, address="") for name in _numbered(CLIENT, read.clients)]
    return [*servers(read), *clients]


# ---------------------------------------------------------------- configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a cluster stands: every node's address, and the folder that all nodes see."""

    addresses: Mapping[str, str]
    shared: Path


def common(settings: FlinkSettings, ground: Ground) -> dict[str, str]:
    """Return the options that every process of a cluster shares, the experiment's own last."""
    return {
        **_failure_detection(settings),
        **_answering(),
        **_checkpointing(settings, ground),
        **(store.options(ground.addresses[settings.store_names[0]]) if settings.store else {}),
        **_scheduling(settings),
        **_election(settings, ground),
        **settings.config,
    }


def jobmanager_options(settings: FlinkSettings, ground: Ground, name: str) -> dict[str, str]:
    """Return the options of JobManager `name`."""
    address = ground.addresses[name]
    own = {
        "jobmanager.rpc.address": address,
        "jobmanager.rpc.port": _RPC_PORT,
        "jobmanager.bind-host": address,
        "jobmanager.resource-id": name,
        "rest.address": address,
        "rest.bind-address": address,
        "rest.port": REST_PORT,
        "blob.server.port": _BLOB_PORT,
        "jobmanager.retrieve-taskmanager-hostname": "false",  # no name service: every look-up would cost a time-out
    }
    return {**{key: str(value) for key, value in own.items()}, **common(settings, ground)}


def taskmanager_options(settings: FlinkSettings, ground: Ground, name: str) -> dict[str, str]:
    """Return the options of TaskManager `name`, which Flink knows by that name, whenever it is started again."""
    address = ground.addresses[name]
    own = {
        "jobmanager.rpc.address": ground.addresses[settings.jobmanager_names[0]],  # ZooKeeper knows better, if there
        "jobmanager.rpc.port": _RPC_PORT,
        "taskmanager.host": address,
        "taskmanager.bind-host": address,
        "taskmanager.resource-id": name,
        "taskmanager.rpc.port": _TASK_RPC_PORT,
        "taskmanager.data.port": _DATA_PORT,
        "taskmanager.numberOfTaskSlots": settings.slots,
        "taskmanager.cpu.cores": 1.0,
        **_TASK_MEMORY,
    }
    return {**{key: str(value) for key, value in own.items()}, **common(settings, ground)}


_TASK_MEMORY = {
    "taskmanager.memory.framework.heap.size": "64m",
    "taskmanager.memory.framework.off-heap.size": "48m",
    "taskmanager.memory.task.heap.size": "96m",
    "taskmanager.memory.task.off-heap.size": "0m",
    "taskmanager.memory.network.min": "32m",
    "taskmanager.memory.network.max": "32m",
    "taskmanager.memory.managed.size": "48m",  # windows in SQL refuse to run on none
    "taskmanager.memory.jvm-metaspace.size": "128m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
}


def _failure_detection(settings: FlinkSettings) -> dict[str, str]:
    restarts = {
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "100000",
        "restart-strategy.fixed-delay.delay": "100 ms",
    }
    return {
        "heartbeat.interval": _ms(settings.heartbeat_s),  # 10 s
        "heartbeat.timeout": _ms(settings.heartbeat_timeout_s),  # 50 s
        "heartbeat.rpc-failure-threshold": "2",
        "pekko.ask.timeout": "5 s",  # 10 s
        "pekko.tcp.timeout": "3 s",  # 20 s
        **(restarts if settings.restarts else {"restart-strategy.type": "none"}),
    }


def _answering() -> dict[str, str]:
    """Return what makes a cluster register, and answer, without the waits that suit a large one."""
    return {
        "cluster.registration.initial-timeout": "50 ms",
        "cluster.registration.max-timeout": "500 ms",
        "cluster.registration.error-delay": "200 ms",  # 10 s: a TaskManager that was up first would wait so long
        "cluster.registration.refused-registration-delay": "500 ms",
        "slot.request.max-interval": "20 ms",
        "slotmanager.requirement-check.delay": "10 ms",
        "web.refresh-interval": "100 ms",  # 3 s: how old the state of a job may be in an answer
        "web.timeout": "10 s",
        "metrics.fetcher.update-interval": "500 ms",
    }


def _checkpointing(settings: FlinkSettings, ground: Ground) -> dict[str, str]:
    home = f"s3://{store.BUCKET}" if settings.store else ground.shared.as_uri()
    if not settings.checkpoint_s:
        return {"execution.checkpointing.savepoint-dir": f"{home}/savepoints"}
    return {
        "execution.checkpointing.interval": _ms(settings.checkpoint_s),
        "execution.checkpointing.min-pause": _ms(settings.checkpoint_s / 10),
        "execution.checkpointing.timeout": _ms(settings.checkpoint_timeout_s),
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.tolerable-failed-checkpoints": "1000",  # failing ones are for the gates to judge
        "execution.checkpointing.num-retained": "2",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": f"{home}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{home}/savepoints",
        "state.backend.type": "hashmap",
    }


def _scheduling(settings: FlinkSettings) -> dict[str, str]:
    spread = {"taskmanager.load-balance.mode": "SLOTS", "execution.buffer-timeout.interval": "20 ms"}
    if settings.scheduler != ADAPTIVE:
        return spread
    return {
        **spread,
        "jobmanager.scheduler": "adaptive",
        "jobmanager.adaptive-scheduler.submission.resource-wait-timeout": "10 s",
        "jobmanager.adaptive-scheduler.submission.resource-stabilization-timeout": "0 s",  # 10 s
        "jobmanager.adaptive-scheduler.executing.resource-stabilization-timeout": "0 s",  # 1 min
        "jobmanager.adaptive-scheduler.executing.cooldown-after-rescaling": "1 s",  # 30 s
        "jobmanager.adaptive-scheduler.rescale-trigger.max-delay": "1500 ms",
    }


def _election(settings: FlinkSettings, ground: Ground) -> dict[str, str]:
    if not settings.standby:
        return {}
    quorum = ",".join(f"{ground.addresses[name]}:{ZOOKEEPER_PORT}" for name in settings.zookeeper_names)
    return {
        "high-availability.type": "zookeeper",
        "high-availability.zookeeper.quorum": quorum,
        "high-availability.storageDir": (ground.shared / "ha").as_uri(),
        "high-availability.cluster-id": "/lab",
        "high-availability.jobmanager.port": str(_RPC_PORT),
        "high-availability.zookeeper.client.session-timeout": _ms(settings.session_s),
        "high-availability.zookeeper.client.connection-timeout": "2 s",
        "high-availability.zookeeper.client.retry-wait": "200 ms",
        "high-availability.zookeeper.client.max-retry-attempts": "20",
        # Without it a connection that is merely lost, and not yet the session, stops the job.
        "high-availability.zookeeper.client.tolerate-suspended-connections": "true",
    }


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)} ms"


def text(options: Mapping[str, str]) -> str:
    """Return a config.yaml of flat keys; every value quoted, so that YAML reads none as something else."""
    return "".join(f"{key}: '{_quoted(value)}'\n" for key, value in sorted(options.items()))


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def zookeeper_text(settings: FlinkSettings, ground: Ground, name: str, folder: Path) -> str:
    """Return the zoo.cfg of ZooKeeper's node; `folder` holds its data and its log, and a file myid with "1"."""
    address = ground.addresses[name]
    lines = {
        "tickTime": max(100, round(settings.session_s * 1000 / 6)),  # a session may be 2 to 20 ticks
        "dataDir": folder,
        "clientPort": ZOOKEEPER_PORT,
        "clientPortAddress": address,
        "admin.enableServer": "false",
        "maxClientCnxns": 100,
        "4lw.commands.whitelist": "srvr,dump,cons",  # version; who holds what; who is who: see roles.py
        "server.1": f"{address}:2888:3888",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


LOG4J = """rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5p %c{1} - %m%n%ex
logger.pekko.name = org.apache.pekko
logger.pekko.level = WARN
logger.netty.name = org.apache.flink.shaded.netty4.io.netty.channel.DefaultChannelPipeline
logger.netty.level = OFF
"""
"""For log4j2: one line an event, with date and zone, on the process's own output."""
