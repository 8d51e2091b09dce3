"""etcd on a lab: one process a member, its roles, its versions and its operations.

    up: provide binary ─▶ start members ─▶ all answer, one leader ─▶ a write goes through [─▶ users ─▶ as our user]
    restart, replace: SIGTERM ─▶ start (the other binary, the same data) ─▶ answers, follows, has caught up

Who leads is asked of the members themselves, all at once; nobody in time means nobody.
"""

from __future__ import annotations

import itertools
import os
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chaos.clock import NS, MonotonicClock, ns
from chaos.errors import CapabilityError, StackError, UsageError
from chaos.ports import Reaches, RunsProcesses
from chaos.stacks.crew import Crew, Lab
from chaos.stacks.etcd import roles, users
from chaos.stacks.etcd.access import Access, Tls, files_of, password_in
from chaos.stacks.etcd.client import EtcdError
from chaos.stacks.etcd.members import Members
from chaos.stacks.etcd.ready import ASK_S, not_back, not_serving
from chaos.stacks.etcd.settings import (
    CLIENT_PORT,
    COMPONENT,
    OPERATIONS,
    PEER_PORT,
    PROCESS,
    ROLES,
    EtcdSettings,
    member_process,
    nodes,
)
from chaos.stacks.etcd.versions import DEFAULT_VERSION, Say, is_path, origin, provide, reported
from chaos.store import executable, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Node, Process, Reading, StackAction, StackSpec
    from chaos.ports import Clock, Probe, Target

_STOP_GRACE_S = 10.0
_QUIET_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A server binary: as it was asked for, where it lies, what it says it is."""

    asked: str
    path: Path
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a cluster runs."""

    crew: Crew
    members: Members

    @property
    def lab(self) -> Lab:
        """Return the lab."""
        return self.crew.lab


@dataclass(slots=True, kw_only=True)
class EtcdStack:
    """One cluster; implements ports.Stack and ports.FindsRole."""

    spec: StackSpec
    settings: EtcdSettings
    password: str = field(default="", repr=False)
    clock: Clock = field(default_factory=MonotonicClock)
    say: Say = lambda _: None
    rounds: Iterator[int] = field(default_factory=partial(itertools.count, 1))  # of replica comparisons, live and quiet
    _place: Place | None = None
    _binaries: dict[str, Binary] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)
    _operating: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, spec: StackSpec, *, say: Say = lambda _: None) -> EtcdStack:
        """Return the stack that an experiment describes, not yet started.

        UsageError if it can't be: a wrong setting, a missing file of `tls`, no password in the environment.
        """
        if foreign := set(spec.versions) - {COMPONENT}:
            raise UsageError(f"versions: {', '.join(sorted(foreign))}: etcd has one component, {COMPONENT!r}")
        try:
            settings = EtcdSettings.of(spec.settings)
            if isinstance(settings.tls, Tls):
                settings.tls.check()
            password = password_in(settings.password_env) if settings.user else ""
        except (TypeError, ValueError, UsageError) as error:
            raise UsageError(f"stack etcd: {error}") from error
        return cls(spec=spec, settings=settings, password=password, say=say)

    # ------------------------------------------------------------ what it is

    @property
    def member_names(self) -> tuple[str, ...]:
        """Name the member nodes, etcd1 and so on."""
        return tuple(f"etcd{i + 1}" for i in range(self.settings.members))

    def nodes(self) -> Sequence[Node]:
        """Return the nodes it wants of a lab: members, then client nodes, without addresses.

        UsageError for a cluster that is there already, known by the files of its certificates: no lab makes that one.
        """
        if isinstance(self.settings.tls, Tls):
            raise UsageError(
                "stack etcd: tls: these files are of a cluster that is there already, and a lab makes a new one, with "
                "certificates of its own; write tls: true"
            )
        return nodes({"members": self.settings.members, "clients": self.settings.clients})

    def cpu_limits(self) -> Mapping[str, float]:
        """Return node → cores for the nodes that are to be limited."""
        return {} if self.settings.cpu is None else dict.fromkeys(self.member_names, self.settings.cpu)

    def origin(self, version: str) -> str:
        """Say what runs if `version` is asked for ("": what it starts with) and where it is from; touches nothing.

        UsageError for a version that there is not.
        """
        asked = version or self.spec.versions.get(COMPONENT, "")
        return f"{COMPONENT} {origin(asked)}" if asked else f"{COMPONENT} {origin(DEFAULT_VERSION)}; the default"

    def provide(self, versions: Sequence[str], say: Say) -> None:
        """See to it that these versions, and the one it starts with, are at hand; UsageError if one can't be had."""
        for version in dict.fromkeys((self.spec.versions.get(COMPONENT, DEFAULT_VERSION), *versions)):
            provide(version, say)

    def quorum(self) -> int:
        """Return how many members must be up for a write."""
        return roles.quorum(self.settings.members)

    @property
    def members(self) -> Members:
        """Return how to ask the members; StackError before `up`."""
        return self._running.members

    def members_on(self, target: Lab) -> Members:
        """Return how to ask the members on a target, started or not."""
        addresses = {name: target.topology().node(name).address for name in self.member_names}
        return Members(
            endpoints={name: f"{address}:{CLIENT_PORT}" for name, address in addresses.items()},
            peers={name: f"{address}:{PEER_PORT}" for name, address in addresses.items()},
            entered=target.entered,
            access=self.access(target),
            tokens=self._tokens,
        )

    def access(self, target: Lab) -> Access:
        """Return what lets a client in on a target, started or not; files of a lab are there once it is up."""
        settings = self.settings
        tls = files_of(target.folder("client1")) if settings.tls is True else settings.tls or None
        return Access(tls=tls, user=settings.user, password=self.password, password_env=settings.password_env)

    # ------------------------------------------------------------ ports.Stack

    def up(self, target: Target, folder: Path) -> None:
        """Start the members on `target`, logs below `folder`; return when a write went through.

        Raises CapabilityError for a target that can't run processes, UsageError for a version that can't be had,
        StackError with the log's tail when it does not become ready within `ready_s`.
        """
        if not (isinstance(target, RunsProcesses) and isinstance(target, Reaches)):
            raise CapabilityError(f"target {target.name}: can't start processes; run etcd on a lab (--target netns)")
        binary = self._binary(self.spec.versions.get(COMPONENT, DEFAULT_VERSION))
        folder.mkdir(parents=True, exist_ok=True)
        crew = Crew(lab=target, logs=folder, clock=self.clock, what=PROCESS)
        self._place = Place(crew=crew, members=self.members_on(target))
        self._binaries = dict.fromkeys(self.member_names, binary)
        if self.settings.tls:
            self._certify()
        for name in self.member_names:
            crew.start(name, self._process(name))
        self._wait_until_ready()

    def endpoints(self) -> Mapping[str, str]:
        """Return member → host:port that clients use."""
        return self.members.endpoints

    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """Return for each member what its running process reports and the sha256 of what it executes.

        An empty "version" means that the member did not answer, and "why" says so. "asked" is the version or path
        asked for. "path" is the binary's; "of" says whether the hash was taken of the running "process" or, where
        its /proc entry can't be seen, of the "file".
        """
        answers = self.members.ask(lambda client: client.status().version, ASK_S)
        return {name: self._version(name, answer) for name, answer in answers.items()}

    def operate(self, action: StackAction, node: str, timeout_s: float) -> str:
        """Restart a member, or replace its binary by `version`; one at a time, followers first if `node` is "".

        Waits until each serves again and has applied what was committed when it was stopped.
        Raises UsageError for an unknown operation, StackError if a member does not come back within `timeout_s`.
        """
        if action.operation not in OPERATIONS:
            raise UsageError(f"etcd has no operation {action.operation!r}; there are {', '.join(OPERATIONS)}")
        binary = self._binary(action.arguments["version"]) if action.operation == "replace" else None
        with self._operating:  # two members down at once would be a fault that nobody asked for
            deadline_ns = self.clock.now_ns() + ns(timeout_s)
            return "; ".join(
                self._exchange(name, binary, deadline_ns) for name in ([node] if node else self._leader_last())
            )

    # ------------------------------------------------------------ ports.FindsRole

    def find(self, role: str, argument: str, timeout_s: float) -> Sequence[Node]:  # noqa: ARG002 — no role has one
        """Return the nodes that hold `role` now, in the topology's order; UsageError for an unknown role."""
        if role not in ROLES:
            raise UsageError(f"etcd has no role {role!r}; there are {', '.join(ROLES)}")
        topology = self._running.lab.topology()
        if role in ("member", "client"):
            return topology.with_role(role)
        statuses = self.members.statuses(timeout_s)
        holders = {roles.leader(statuses)} if role == "leader" else set(roles.followers(statuses))
        return tuple(node for node in topology.nodes if node.name in holders)

    def hand_over(self, role: str, names: Sequence[str], timeout_s: float) -> str:
        """Move the leader, if need be, so that all of `names` hold `role`; StackError if it does not move in time."""
        statuses = self.members.statuses(ASK_S)
        to, leader = roles.successor(role, names, statuses), roles.leader(statuses)
        if not to or leader is None:
            return ""
        deadline_ns = self.clock.now_ns() + ns(timeout_s)
        try:
            target_id = statuses[to].member_id
            self.members.ask_one(leader, lambda client: client.move_leader(target_id), timeout_s)
        except EtcdError as error:
            raise StackError(f"{leader} did not hand the leadership to {to}: {error}") from error
        while self.clock.now_ns() < deadline_ns:
            if roles.leader(self.members.statuses(ASK_S)) == to:
                return f"leadership moved from {leader} to {to}"
            self._running.crew.pause()
        raise StackError(f"{leader} did not hand the leadership to {to} within {timeout_s:g} s")

    def quorum_lost(self, timeout_s: float = ASK_S) -> bool:
        """Whether no majority of the members is seen to follow one leader."""
        return not roles.has_quorum(self.members.statuses(timeout_s), self.settings.members)

    # ------------------------------------------------------------ looking

    def probes(self, target: Lab) -> Mapping[str, tuple[Probe, float]]:
        """Return name → (probe, seconds between two looks); `target` need not be up yet."""
        from chaos.probes import probes_of  # noqa: PLC0415 — probes are made of stacks, so that module imports this one

        return probes_of(self, target)

    def compare_replicas(self, deadline_s: float = _QUIET_S) -> Sequence[Reading]:
        """Compare all members once traffic has ended: wait for equal applied indexes, hash, bisect what differs."""
        from chaos.probes.etcd import ReplicaProbe  # noqa: PLC0415 — see probes

        return ReplicaProbe.of(self, self._running.lab).compare_quiet(deadline_s)

    # ------------------------------------------------------------ starting

    @property
    def _running(self) -> Place:
        if self._place is None:
            raise StackError("etcd is not up yet; call up() first")
        return self._place

    def _binary(self, version: str) -> Binary:
        path = provide(version, self.say)
        return Binary(asked=version, path=path, version=reported(path) if is_path(version) else version)

    def _process(self, name: str) -> Process:
        place, binary = self._running, self._binaries[name]
        return member_process(
            self.settings,
            binary=binary.path,
            version=binary.version,
            name=name,
            addresses={member: endpoint.rpartition(":")[0] for member, endpoint in place.members.endpoints.items()},
            folder=place.lab.folder(name),
            log=place.crew.log(name, PROCESS),
            seen=os.environ,
        )

    def _certify(self) -> None:
        from chaos.stacks.etcd.certificates import issue  # noqa: PLC0415 — most clusters need no cryptography

        lab = self._running.lab
        members = {lab.folder(name): lab.topology().node(name).address for name in self.member_names}
        issue(members, [lab.folder(node.name) for node in lab.topology().with_role("client")])

    def _wait_until_ready(self) -> None:
        """Wait until a write goes through; where users are wanted, then also one as our user, and no stranger's."""
        deadline_ns = self.clock.now_ns() + ns(self.settings.ready_s)
        self._wait_out(not_serving, users.strangers(self.members), deadline_ns)
        if self.settings.user:
            users.enable(self.members)
            self._wait_out(not_serving, self.members, deadline_ns)
            self._wait_out(users.not_closed, self.members, deadline_ns)

    def _wait_out(self, obstacle: Callable[[Members], str], members: Members, deadline_ns: int) -> None:
        what = f"etcd is not ready after {self.settings.ready_s:g} s"
        self._running.crew.wait(lambda: obstacle(members), deadline_ns, what)

    # ------------------------------------------------------------ versions

    def _version(self, name: str, answer: str | EtcdError) -> Mapping[str, str]:
        binary = self._binaries[name]
        executable = self._executable(name)
        facts = {
            "version": "" if isinstance(answer, EtcdError) else answer,
            "sha256": sha256(executable or binary.path),
            "path": str(binary.path),
            "asked": binary.asked,
            "of": "process" if executable else "file",
        }
        return {**facts, "why": str(answer)} if isinstance(answer, EtcdError) else facts

    def _executable(self, name: str) -> Path | None:
        """Return /proc/<pid>/exe of the member, if that process is seen from here and is the member indeed."""
        state = self._running.crew.state(name, PROCESS)
        if state is None or state.exit_code is not None:
            return None
        # A pid of another PID namespace may be somebody else's here: the member's own option tells them apart.
        return executable(state.pid, f"--data-dir={self._running.lab.folder(name) / 'etcd'}")

    # ------------------------------------------------------------ operations

    def _leader_last(self) -> Sequence[str]:
        """Order the members so that leadership moves once, not at every step."""
        first = roles.leader(self.members.statuses(ASK_S))
        return sorted(self.member_names, key=lambda name: (name == first, name))

    def _exchange(self, name: str, binary: Binary | None, deadline_ns: int) -> str:
        """Stop a member and start it again, with another binary if one is given."""
        began_ns = self.clock.now_ns()
        before = self._binaries[name]
        committed = max((s.raft_index for s in self.members.statuses(ASK_S).values()), default=0)
        crew = self._running.crew
        self._binaries[name] = binary or before
        crew.restart(name, self._process(name), _STOP_GRACE_S)
        crew.wait(
            lambda: not_back(self.members, name, committed), deadline_ns, f"{name}: not back in time", names=[name]
        )
        took_s = (self.clock.now_ns() - began_ns) / NS
        done = f"{before.version} replaced by {binary.version}" if binary else "restarted"
        return f"{name}: {done}, serving and caught up after {took_s:.1f} s"
