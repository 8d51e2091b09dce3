"""Kafka on a lab: three brokers that are controllers too, their roles, versions and operations.

    up: jars, class archive ─▶ start brokers ─▶ all answer, one active controller ─▶ topics in sync ─▶ a record is acked
    restart, replace: SIGTERM ─▶ start (other jars, the same data) ─▶ in the cluster, every replica in sync again

Who is what is asked of the brokers themselves, all at once; nobody in time means nobody.
"""

from __future__ import annotations

import base64
import shutil
import threading
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chaos.clock import NS, MonotonicClock, ns
from chaos.errors import CapabilityError, StackError, UsageError
from chaos.ports import Reaches, RunsProcesses
from chaos.stacks import java
from chaos.stacks.crew import Crew, Lab
from chaos.stacks.kafka import logs, roles
from chaos.stacks.kafka.client import Brokers, create_topic, views
from chaos.stacks.kafka.ready import READY_TOPIC, not_writable
from chaos.stacks.kafka.settings import (
    CLIENT_PORT,
    COMPONENT,
    CONTROLLER_PORT,
    LOG4J,
    OPERATIONS,
    PROCESS,
    ROLES,
    KafkaSettings,
    broker_command,
    broker_names,
    broker_process,
    meta_properties,
    node_id,
    nodes,
    properties_text,
    server_properties,
)
from chaos.stacks.kafka.versions import DEFAULT_VERSION, Software, origin, provide
from chaos.stacks.kafka.wire import KafkaError, Wire
from chaos.store import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from chaos.fetching import Say
    from chaos.model import Node, Process, StackAction, StackSpec
    from chaos.ports import Clock, Probe, Target

ASK_S = 1.0  # one question to all brokers
_POLL_S = 0.1  # brokers that start need the machine for themselves
_WRITE_S = 2.0
_STOP_GRACE_S = 15.0  # a broker without a quorum can't hand its partitions over, and would try for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a cluster runs."""

    crew: Crew
    brokers: Brokers


@dataclass(slots=True, kw_only=True)
class KafkaStack:
    """One cluster; implements ports.Stack and ports.FindsRole. `phases`: seconds from `up` to the end of each."""

    spec: StackSpec
    settings: KafkaSettings
    clock: Clock = field(default_factory=MonotonicClock)
    say: Say = lambda _: None
    phases: dict[str, float] = field(default_factory=dict)
    _place: Place | None = None
    _software: dict[str, Software] = field(default_factory=dict)
    _operating: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, spec: StackSpec, *, say: Say = lambda _: None) -> KafkaStack:
        """Return the stack that an experiment describes, not yet started; UsageError for a wrong setting."""
        if foreign := set(spec.versions) - {COMPONENT}:
            raise UsageError(f"versions: {', '.join(sorted(foreign))}: kafka has one component, {COMPONENT!r}")
        try:
            settings = KafkaSettings(**spec.settings)
        except (TypeError, ValueError) as error:
            raise UsageError(f"stack kafka: {error}") from error
        return cls(spec=spec, settings=settings, say=say)

    # ------------------------------------------------------------ what it is

    @property
    def broker_names(self) -> tuple[str, ...]:
        """Name the brokers' nodes, kafka1 and so on."""
        return broker_names(self.settings.brokers)

    def nodes(self) -> Sequence[Node]:
        """Return the nodes it wants of a lab: brokers, then client nodes, without addresses."""
        return nodes({"brokers": self.settings.brokers, "clients": self.settings.clients})

    def cpu_limits(self) -> Mapping[str, float]:
        """Return node → cores for the nodes that are to be limited."""
        return {} if self.settings.cpu is None else dict.fromkeys(self.broker_names, self.settings.cpu)

    @property
    def version(self) -> str:
        """Return the version that it starts with, as it was asked for."""
        return self.spec.versions.get(COMPONENT, DEFAULT_VERSION)

    def origin(self, version: str) -> str:
        """Say what runs if `version` is asked for ("": what it starts with) and where it is from; touches nothing.

        UsageError for a version that there is not.
        """
        asked = version or self.version
        default = "" if version or COMPONENT in self.spec.versions else "; the default"
        return f"{COMPONENT} {origin(asked)}{default}"

    def provide(self, versions: Sequence[str], say: Say) -> None:
        """See to it that these versions, and the one it starts with, are at hand; UsageError if one can't be had."""
        for version in dict.fromkeys((self.version, *versions)):
            provide(version, say)

    @property
    def brokers(self) -> Brokers:
        """Return how to ask the brokers; StackError before `up`."""
        return self._running.brokers

    def brokers_on(self, target: Lab) -> Brokers:
        """Return how to ask the brokers on a target, started or not."""
        addresses = {name: target.topology().node(name).address for name in self.broker_names}
        return Brokers(
            endpoints={name: f"{address}:{CLIENT_PORT}" for name, address in addresses.items()},
            quorum={name: f"{address}:{CONTROLLER_PORT}" for name, address in addresses.items()},
            entered=target.entered,
        )

    # ------------------------------------------------------------ ports.Stack

    def up(self, target: Target, folder: Path) -> None:
        """Start the brokers on `target`, logs below `folder`; return when a record went through each of them.

        Raises CapabilityError for a target that can't run processes, UsageError for a version that can't be had,
        StackError with the log's tail when it does not become ready within `ready_s`.
        """
        if not (isinstance(target, RunsProcesses) and isinstance(target, Reaches)):
            raise CapabilityError(f"target {target.name}: can't start processes; run kafka on a lab (--target netns)")
        began_ns = self.clock.now_ns()
        self._software = dict.fromkeys(self.broker_names, provide(self.version, self.say))
        self._done("provided", began_ns)
        self.launch(target, folder)
        self._done("started", began_ns)
        self.await_ready(began_ns)

    def launch(self, target: Lab, folder: Path) -> None:
        """Start the brokers and return at once; a stack that holds this one starts the rest meanwhile."""
        if not self._software:
            self._software = dict.fromkeys(self.broker_names, provide(self.version, self.say))
        folder.mkdir(parents=True, exist_ok=True)
        crew = Crew(lab=target, logs=folder, clock=self.clock, what=PROCESS)
        self._place = Place(crew=crew, brokers=self.brokers_on(target))
        for name in self.broker_names:
            crew.start(name, self._process(name))

    def await_ready(self, began_ns: int) -> None:
        """Wait until the brokers are a cluster, its topics are in sync, and a record is acknowledged by each leader."""
        deadline_ns = self.clock.now_ns() + ns(self.settings.ready_s)
        for phase, missing in (
            ("together", self._not_together),
            ("topics in sync", self._not_in_sync),
            ("acknowledged write", self._not_writable),
        ):
            what = f"kafka is not ready after {self.settings.ready_s:g} s"
            self._running.crew.wait(missing, deadline_ns, what, every_s=_POLL_S)
            self._done(phase, began_ns)

    def endpoints(self) -> Mapping[str, str]:
        """Return broker → host:port that clients use."""
        return self.brokers.endpoints

    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """Return for each broker what it told of itself as it started, and the sha256 of the server's jar that it runs.

        The protocol has no question for it, so "version" is read from the log, where Kafka's AppInfoParser puts it; ""
        and "why" if it is not there. "of" says whether the jar was read through the running "process" or, where its
        /proc entry can't be seen, from the "file".
        """
        return {name: self._version(name) for name in self.broker_names}

    def operate(self, action: StackAction, node: str, timeout_s: float) -> str:
        """Restart a broker, or give it the jars of `version`; one at a time, the active controller last if node is "".

        Waits until each is in the cluster again and every partition has all of its replicas in sync.
        Raises UsageError for an unknown operation, StackError if that is not so within `timeout_s`.
        """
        if action.operation not in OPERATIONS:
            raise UsageError(f"kafka has no operation {action.operation!r}; there are {', '.join(OPERATIONS)}")
        replacing = action.operation == "replace"
        software = provide(action.arguments["version"], self.say) if replacing else None
        with self._operating:  # two brokers down at once would be a fault that nobody asked for
            deadline_ns = self.clock.now_ns() + ns(timeout_s)
            names = [node] if node else self._controller_last()
            return "; ".join(self._exchange(name, software, deadline_ns) for name in names)

    # ------------------------------------------------------------ ports.FindsRole

    def find(self, role: str, argument: str, timeout_s: float) -> Sequence[Node]:
        """Return the nodes that hold `role` now, in the topology's order; `argument` is leader-of's partition, "in/2".

        UsageError for an unknown role and for what is no partition.
        """
        if role not in ROLES:
            raise UsageError(f"kafka has no role {role!r}; there are {', '.join(ROLES)}")
        topology = self._running.crew.lab.topology()
        if role in ("broker", "client"):
            return topology.with_role(role)
        partition = roles.partition_of(argument) if role == "leader-of" else None
        seen = views(self.brokers.look(timeout_s))
        if partition is None:
            holder = roles.active(seen)
        else:
            leader = roles.leader_of(seen, *partition)
            holder = None if leader is None else f"kafka{leader}"
        return tuple(node for node in topology.nodes if node.name == holder)

    # ------------------------------------------------------------ looking

    def probes(self, target: Lab) -> Mapping[str, tuple[Probe, float]]:
        """Return name → (probe, seconds between two looks); `target` need not be up yet."""
        from chaos.probes import probes_of  # noqa: PLC0415 — probes are made of stacks, so that module imports this one

        return probes_of(self, target)

    # ------------------------------------------------------------ starting

    @property
    def _running(self) -> Place:
        if self._place is None:
            raise StackError("kafka is not up yet; call up() first")
        return self._place

    def _done(self, phase: str, began_ns: int) -> None:
        self.phases[phase] = (self.clock.now_ns() - began_ns) / NS

    def _process(self, name: str) -> Process:
        """Write a broker's files and return its process."""
        place, software = self._running, self._software[name]
        folder = place.crew.lab.folder(name)
        data = folder / "kafka"
        if not (data / "meta.properties").exists():
            _format(data, name, software)
        properties = server_properties(self.settings, name, place.brokers.endpoints, place.brokers.quorum, data)
        (folder / "server.properties").write_text(properties_text(properties), encoding="utf-8")
        (folder / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
        argv = broker_command(software.jars, folder, archive=software.archive)
        return broker_process(argv, folder, place.crew.log(name, PROCESS))

    # ------------------------------------------------------------ ready?

    def _not_together(self) -> str:
        return roles.not_together(views(self.brokers.look(ASK_S)), self.broker_names)

    @property
    def _topics(self) -> Mapping[str, int]:
        return {**self.settings.topics, READY_TOPIC: self.settings.brokers}

    def _not_in_sync(self) -> str:
        """Make the topics that are lacking; return what still is, as any broker sees it."""
        seen = views(self.brokers.look(ASK_S))
        there = roles.topics(seen)
        try:
            for topic, partitions in self._topics.items():
                if topic not in there:
                    self.brokers.ask_one(self.broker_names[0], partial(self._create, topic, partitions), ASK_S)
        except KafkaError as error:
            return str(error)
        lacking = (roles.lacking_topics(view.metadata, self._topics) for view in seen.values())
        return next(filter(None, lacking), "")

    def _create(self, topic: str, partitions: int, wire: Wire) -> None:
        config = {"min.insync.replicas": str(self.settings.in_sync)}
        create_topic(
            wire, topic, partitions=partitions, replicas=self.settings.replication, config=config, timeout_s=ASK_S
        )

    def _not_writable(self) -> str:
        with self.brokers.entered():
            return not_writable(self.brokers.bootstrap, READY_TOPIC, self.settings.brokers, _WRITE_S)

    # ------------------------------------------------------------ versions

    def _version(self, name: str) -> Mapping[str, str]:
        software, log = self._software[name], self._running.crew.log(name, PROCESS)
        told = logs.version_of(log.read_text(errors="replace")) if log.exists() else ""
        jar = self._running_jar(name)
        facts = {
            "version": told,
            "sha256": sha256(jar or software.server),
            "path": str(software.server),
            "asked": software.asked,
            "of": "process" if jar else "file",
        }
        return facts if told else {**facts, "why": f"{log} does not say"}

    def _running_jar(self, name: str) -> Path | None:
        """Return the server's jar as the broker's process holds it open; None if that can't be seen from here."""
        crew = self._running.crew
        state = crew.state(name, PROCESS)
        if state is None or state.exit_code is not None:
            return None
        return java.opened(state.pid, f"{crew.lab.folder(name)}/server.properties", self._software[name].server)

    # ------------------------------------------------------------ operations

    def _controller_last(self) -> Sequence[str]:
        """Order the brokers so that the controller moves once, not at every step."""
        first = roles.active(views(self.brokers.look(ASK_S)))
        return sorted(self.broker_names, key=lambda name: (name == first, node_id(name)))

    def _exchange(self, name: str, software: Software | None, deadline_ns: int) -> str:
        """Stop a broker and start it again, with other jars if they are given."""
        began_ns = self.clock.now_ns()
        before, crew = self._software[name], self._running.crew
        self._software[name] = software or before
        crew.restart(name, self._process(name), _STOP_GRACE_S)
        missing = partial(self._not_back, name)
        crew.wait(missing, deadline_ns, f"{name}: not back in time", names=[name], every_s=_POLL_S)
        took_s = (self.clock.now_ns() - began_ns) / NS
        done = f"{before.version} replaced by {software.version}" if software else "restarted"
        return f"{name}: {done}, every replica in sync again after {took_s:.1f} s"

    def _not_back(self, name: str) -> str:
        return roles.not_back(views(self.brokers.look(ASK_S)), self.broker_names, name)


def _format(data: Path, name: str, software: Software) -> None:
    """Make a broker's data folder, as Kafka's StorageTool would."""
    data.mkdir(parents=True, exist_ok=True)
    shutil.copy(software.bootstrap, data)
    directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    (data / "meta.properties").write_text(meta_properties(name, directory), encoding="ascii")
