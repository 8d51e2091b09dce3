"""Kafka and Flink on one lab, with a job between them, and etcd beside them: stacks started at once and asked as one.

    kafka.launch ─┬─▶ brokers in sync, topics, an acknowledged write ─┐
    flink.launch ─┼─▶ JobManager, TaskManagers, leader ───────────────┼─▶ the job is submitted ─▶ RUNNING
    etcd.up ──────┴─▶ a leader, a write goes through (if there is one)┘

Whatever concerns one node goes to the stack whose node it is. Where etcd's names would be taken for another's, they
begin with `etcd-`: the roles etcd-leader and etcd-follower, and the readings of those names, and etcd-quorum.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from chaos.clock import NS, MonotonicClock
from chaos.errors import CapabilityError, StackError, UsageError
from chaos.model import StackSpec
from chaos.ports import Reaches, RunsProcesses
from chaos.stacks.etcd import settings as etcd
from chaos.stacks.etcd.stack import EtcdStack
from chaos.stacks.flink import settings as flink
from chaos.stacks.flink.stack import FlinkStack
from chaos.stacks.kafka import settings as kafka
from chaos.stacks.kafka.stack import KafkaStack
from chaos.stacks.streaming.settings import (
    COMPONENTS,
    DEFAULT_JOB,
    ETCD_ROLES,
    ROLES,
    StreamingSettings,
    nodes,
    with_topics,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from chaos.fetching import Say
    from chaos.model import Node, Reading, StackAction
    from chaos.ports import Clock, Probe, Target
    from chaos.stacks.crew import Lab

KV = "kv"  # the workload that talks to etcd
_SHARED = frozenset({"leader", "follower", "quorum"})  # readings that other stacks have, too, or that are roles here


@dataclass(slots=True, kw_only=True)
class StreamingStack:
    """Implements ports.Stack, FindsRole and ServesSeveral. `phases`: seconds from `up` to the end of each phase."""

    spec: StackSpec
    kafka: KafkaStack
    flink: FlinkStack
    etcd: EtcdStack | None = None
    clock: Clock = field(default_factory=MonotonicClock)
    say: Say = lambda _: None
    phases: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: StackSpec, *, say: Say = lambda _: None) -> StreamingStack:
        """Return the stack that an experiment describes, not yet started; UsageError if it can't be."""
        try:
            settings = StreamingSettings.of(spec.settings)
        except (TypeError, ValueError) as error:
            raise UsageError(f"stack streaming: {error}") from error
        components = (*COMPONENTS, etcd.COMPONENT) if settings.etcd else COMPONENTS
        if foreign := set(spec.versions) - set(components):
            there = ", ".join(components)
            raise UsageError(f"versions: {', '.join(sorted(foreign))}: streaming has the components {there}")
        jobs = FlinkStack.of(_part(spec, "flink", asdict(settings.flink)), job=DEFAULT_JOB, say=say)
        wide = with_topics(settings.kafka, jobs.topics)
        brokers = KafkaStack.of(_part(spec, "kafka", asdict(wide)), say=say)
        members = EtcdStack.of(_part(spec, "etcd", asdict(settings.etcd)), say=say) if settings.etcd else None
        return cls(spec=spec, kafka=brokers, flink=jobs, etcd=members, say=say)

    # ------------------------------------------------------------ what it is

    def nodes(self) -> Sequence[Node]:
        """Return the nodes it wants of a lab, without addresses."""
        return nodes(self.spec.settings)

    def cpu_limits(self) -> Mapping[str, float]:
        """Return node → cores for the nodes that are to be limited."""
        limits = {**self.kafka.cpu_limits(), **self.flink.cpu_limits()}
        return {**limits, **self.etcd.cpu_limits()} if self.etcd else limits

    def origin(self, version: str) -> str:
        """Say what runs and where it is from; a `version` is one of Kafka's, whose brokers alone can be replaced."""
        if version:
            return self.kafka.origin(version)
        job = f"job {self.flink.settings.job.name} {self.flink.submission.version}"
        members = (self.etcd.origin(""),) if self.etcd else ()
        return "; ".join((self.kafka.origin(""), self.flink.origin(""), job, *members))

    def provide(self, versions: Sequence[str], say: Say) -> None:
        """See to it that what it starts with, and these versions of Kafka, are at hand; UsageError if not to be had."""
        self.kafka.provide(versions, say)
        self.flink.provide((), say)
        if self.etcd:
            self.etcd.provide((), say)

    # ------------------------------------------------------------ ports.Stack

    def up(self, target: Target, folder: Path) -> None:
        """Start all on `target`, logs below `folder`; return when every task of the job runs.

        CapabilityError for a target that can't run processes, UsageError for a version that can't be had, StackError
        with the logs' tails when one of them does not become ready.
        """
        if not (isinstance(target, RunsProcesses) and isinstance(target, Reaches)):
            raise CapabilityError(f"target {target.name}: can't start processes; run it on a lab (--target netns)")
        self.provide((), self.say)
        began_ns = self.clock.now_ns()
        self.kafka.launch(target, folder)
        self.flink.launch(target, folder)
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="streaming-ready") as pool:
            others = [pool.submit(self.kafka.await_ready, began_ns)]
            if self.etcd:
                others.append(pool.submit(self.etcd.up, target, folder))
            self.flink.await_cluster()
            for other in others:
                other.result()
        self.flink.run_job(tuple(self.kafka.endpoints().values()))
        self.phases = {**_named("kafka", self.kafka.phases), **_named("flink", self.flink.phases)}
        self.say(split(self.phases, (self.clock.now_ns() - began_ns) / NS))

    def endpoints(self) -> Mapping[str, str]:
        """Return broker → host:port."""
        return self.kafka.endpoints()

    def serving(self, workload: str) -> Mapping[str, str]:
        """Return etcd's members for `kv`, else Kafka's brokers; UsageError if there is no etcd."""
        if workload != KV:
            return self.kafka.endpoints()
        if self.etcd is None:
            raise UsageError("stack streaming: nothing answers kv here; add etcd: {}")
        return self.etcd.endpoints()

    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """Return what each node's process reports."""
        versions = {**self.kafka.versions(), **self.flink.versions()}
        return {**versions, **self.etcd.versions()} if self.etcd else versions

    def operate(self, action: StackAction, node: str, timeout_s: float) -> str:
        """Carry out an operation: Kafka's on a broker, etcd's on a member, Flink's elsewhere.

        One that several have needs a node.

        UsageError for an operation that the stack of that node has not.
        """
        if self.etcd and node in self.etcd.member_names:
            return self.etcd.operate(action, node, timeout_s)
        if node in self.kafka.broker_names or (not node and action.operation not in flink.OPERATIONS):
            return self.kafka.operate(action, node, timeout_s)
        if not node and action.operation in kafka.OPERATIONS:
            raise StackError(f"{action.operation}: of which node?")
        return self.flink.operate(action, node, timeout_s)

    # ------------------------------------------------------------ ports.FindsRole

    def find(self, role: str, argument: str, timeout_s: float) -> Sequence[Node]:
        """Return the nodes that hold `role` now; see the stack whose role it is. UsageError for an unknown role."""
        if role not in ROLES:
            raise UsageError(f"streaming has no role {role!r}; there are {', '.join(ROLES)}")
        if role in ETCD_ROLES:
            return self.etcd.find(ETCD_ROLES[role], argument, timeout_s) if self.etcd else ()
        owner = self.kafka if role in kafka.ROLES else self.flink
        return owner.find(role, argument, timeout_s)

    # ------------------------------------------------------------ looking

    def behind(self, timeout_s: float) -> float | None:
        """Return how many records the job has yet to fetch; None if nobody tells."""
        return self.flink.behind(timeout_s)

    def probes(self, target: Lab) -> Mapping[str, tuple[Probe, float]]:
        """Return name → (probe, seconds between two looks); `target` need not be up yet."""
        probes = {**self.kafka.probes(target), **self.flink.probes(target)}
        members = self.etcd.probes(target) if self.etcd else {}
        return {**probes, **{name: (OfEtcd(probe), every_s) for name, (probe, every_s) in members.items()}}

    def compare_replicas(self) -> Sequence[Reading]:
        """Compare etcd's members once traffic has ended; nothing where there is no etcd."""
        return self.etcd.compare_replicas() if self.etcd else ()


@dataclass(frozen=True, slots=True)
class OfEtcd:
    """A probe of etcd's whose readings are not taken for those of others."""

    probe: Probe

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Look, and call what is seen by the names that it has here."""
        return [
            replace(reading, name=f"etcd-{reading.name}") if reading.name in _SHARED else reading
            for reading in self.probe.read(timeout_s)
        ]


def _part(spec: StackSpec, name: str, settings: Mapping[str, object]) -> StackSpec:
    """Return the spec of one of them, with the components that are its own."""
    own = {
        "kafka": (kafka.COMPONENT,),
        "flink": (flink.COMPONENT, flink.JOB_COMPONENT),
        "etcd": (etcd.COMPONENT,),
    }[name]
    versions = {component: version for component, version in spec.versions.items() if component in own}
    return StackSpec(name=name, settings=settings, versions=versions)


def _named(what: str, phases: Mapping[str, float]) -> dict[str, float]:
    return {f"{what}: {phase}": at_s for phase, at_s in phases.items()}


def split(phases: Mapping[str, float], whole_s: float) -> str:
    """Return the start in one line: when each phase was over, in the order of time."""
    told = [f"{phase} {at_s:.1f} s" for phase, at_s in sorted(phases.items(), key=lambda item: item[1])]
    return f"streaming is up after {whole_s:.1f} s: {', '.join(told)}"
