"""What runs on a target: `STACKS` maps the name in `stack:` to how the stack is made.

    stack: {etcd: {members: 3}}  ─▶  STACKS["etcd"].settings_type(members=3)  ─▶  STACKS["etcd"](experiment)

A stranger's package adds one by the entry point group `chaosgate.stacks`; a name that is taken is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.ports import LAG
from chaos.registry import Table
from chaos.stacks.etcd import logs as etcd_logs
from chaos.stacks.etcd import settings as etcd
from chaos.stacks.flink import jobs as flink_jobs
from chaos.stacks.flink import logs as flink_logs
from chaos.stacks.flink import settings as flink
from chaos.stacks.kafka import logs as kafka_logs
from chaos.stacks.kafka import settings as kafka
from chaos.stacks.streaming import logs as streaming_logs
from chaos.stacks.streaming import settings as streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaos.model import Experiment, Node, StackAction, StackSpec
    from chaos.ports import LogReader, Stack


Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackKind:
    """A ports.StackFactory that also says what an experiment may say of it; what it leaves empty is not checked.

    `settings_type` is a dataclass. `processes` are the names that a fault can be aimed at, `nodes` the nodes that the
    stack wants by its settings, so that a file is checked as a whole before anything is made of it. `state_gates`:
    completeness of an slo → the gates that judge it, by kind, with their settings; `latency_gate` and `recovery_gate`
    judge the rest of an slo, and get its limit. `readings`: names of its probes' readings that the engine
    goes by; without "quorum" there is no `abort-when: quorum-lost`. `roles_of` are those of `roles` that are of
    something, and so found with an argument: `on: {leader-of: in/2}`; `held_by` says which nodes alone can hold a role
    that is found; of `voters`, roles that decide together, a majority must be left. `operations_on` says which
    operations victims of a role know, where that differs, `refuses` why a stack of some settings can't carry one out
    (""), and of those `of_one` there is one to do, whoever it is aimed at. `replaces` is the component that `replace`
    exchanges, else the stack's own. `topics` are those that there will be, and their partitions; `serves` the workloads
    that it has servers for. `log_reader` reads
    `<node>-<process>.log`, which each of its processes must then leave; without one the logs are not read, and
    `no-unexpected-exit` says so.
    """

    settings_type: type[Any]
    roles: tuple[str, ...]
    operations: tuple[str, ...]
    make: Callable[[StackSpec], Stack]
    processes: tuple[str, ...] = ()
    nodes: Callable[[Mapping[str, Any]], Sequence[Node]] | None = None
    state_gates: Mapping[str, Mapping[str, Settings]] = field(default_factory=dict)
    latency_gate: tuple[str, Settings] = ("latency", {"percentile": 99.0})
    recovery_gate: tuple[str, Settings] = ("recovery", {})
    readings: tuple[str, ...] = ()
    roles_of: tuple[str, ...] = ()
    held_by: Mapping[str, str] = field(default_factory=dict)
    voters: tuple[str, ...] = ()
    operations_on: Mapping[str, Sequence[str]] = field(default_factory=dict)
    refuses: Callable[[Settings, StackAction], str] | None = None
    of_one: tuple[str, ...] = ()
    replaces: str = ""
    topics: Callable[[Settings], Mapping[str, int]] | None = None
    log_reader: LogReader | None = None
    serves: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
    no_clock: str = ""  # why its programs can't be told a wrong time, and what would do

    def __call__(self, experiment: Experiment) -> Stack:
        """Return the stack, not yet started; UsageError if its settings are wrong."""
        return self.make(experiment.stack)


def _etcd(spec: StackSpec) -> Stack:
    from chaos.stacks.etcd.stack import EtcdStack  # noqa: PLC0415 — reading an experiment needs no HTTP client

    return EtcdStack.of(spec)


def _kafka(spec: StackSpec) -> Stack:
    from chaos.stacks.kafka.stack import KafkaStack  # noqa: PLC0415 — see above

    return KafkaStack.of(spec)


def _flink(spec: StackSpec) -> Stack:
    from chaos.stacks.flink.stack import FlinkStack  # noqa: PLC0415 — see above

    return FlinkStack.of(spec)


def _streaming(spec: StackSpec) -> Stack:
    from chaos.stacks.streaming.stack import StreamingStack  # noqa: PLC0415 — see above

    return StreamingStack.of(spec)


STACKS: Mapping[str, StackKind] = Table(
    {
        "etcd": StackKind(
            settings_type=etcd.EtcdSettings,
            roles=etcd.ROLES,
            held_by=etcd.HELD_BY,
            voters=("member",),
            operations=etcd.OPERATIONS,
            make=_etcd,
            processes=(etcd.PROCESS,),
            nodes=etcd.nodes,
            state_gates={"exact": {"acknowledged-writes": {}, "linearizable": {}, "replicas-equal": {}}},
            readings=("quorum",),
            log_reader=etcd_logs.suspicious_lines,
            no_clock="etcd is a static Go program and asks the kernel for the time itself; aim it at another stack",
        ),
        "kafka": StackKind(
            settings_type=kafka.KafkaSettings,
            roles=kafka.ROLES,
            held_by=kafka.HELD_BY,
            voters=("broker",),
            operations=kafka.OPERATIONS,
            make=_kafka,
            processes=(kafka.PROCESS,),
            nodes=kafka.nodes,
            topics=lambda settings: kafka.KafkaSettings(**settings).topics,
            state_gates={"exact": {"ledger": {}}},
            readings=("quorum",),
            roles_of=("leader-of",),
            log_reader=kafka_logs.suspicious_lines,
        ),
        "flink": StackKind(
            settings_type=flink.FlinkSettings,
            roles=flink.ROLES,
            held_by=flink.HELD_BY,
            refuses=flink_jobs.refuses,
            of_one=flink.OF_THE_JOB,
            operations=flink.OPERATIONS,
            make=_flink,
            processes=flink.PROCESSES,
            nodes=flink.nodes,
            roles_of=(flink.RUNNING,),
            log_reader=flink_logs.suspicious_lines,
        ),
        "streaming": StackKind(
            settings_type=streaming.StreamingSettings,
            roles=streaming.ROLES,
            held_by=streaming.HELD_BY,
            refuses=lambda settings, action: flink_jobs.refuses(
                settings.get("flink", {}), action, streaming.DEFAULT_JOB
            ),
            of_one=flink.OF_THE_JOB,
            operations_on=streaming.OPERATIONS_ON,
            replaces=kafka.COMPONENT,
            topics=streaming.topics,
            voters=("broker", "member"),
            operations=streaming.OPERATIONS,
            make=_streaming,
            processes=streaming.PROCESSES,
            nodes=streaming.nodes,
            serves=streaming.serves,
            state_gates={
                "exact": {"ledger": streaming.OUTPUTS},
                "partial": {"ledger": {**streaming.OUTPUTS, "completeness": "at-least-once"}},
            },
            latency_gate=("output-latency", {"percentile": 99.0}),
            recovery_gate=("lag", {}),
            readings=("quorum", LAG),
            roles_of=("leader-of", flink.RUNNING),
            log_reader=streaming_logs.suspicious_lines,
        ),
    },
    "chaosgate.stacks",
)
