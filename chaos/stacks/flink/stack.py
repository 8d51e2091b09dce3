"""Flink on a lab: its processes, its job, who is what, and its operations.

    launch: provide ─▶ files ─▶ zookeeper, jobmanagers, taskmanagers   (nothing is waited for)
    REST answers ─▶ TaskManagers registered, somebody leads ─▶ submit ─▶ every task RUNNING

Checkpoints and savepoints go to a folder of the lab that every node sees as its own disk: no fault on a path to it. Or
to a store on a node of its own.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from chaos.clock import NS, MonotonicClock, ns
from chaos.errors import CapabilityError, StackError, UsageError
from chaos.ports import Reaches, RunsProcesses
from chaos.stacks.crew import Crew
from chaos.stacks.flink import jobs, operations, reported, roles, versions, zookeeper
from chaos.stacks.flink.processes import Place, files, process
from chaos.stacks.flink.rest import FlinkRest, Job, JobManagers, RestError
from chaos.stacks.flink.settings import (
    COMPONENT,
    JOB_COMPONENT,
    JOBMANAGER,
    LEADER,
    OPERATIONS,
    REST_PORT,
    ROLES,
    RUNNING,
    ZOOKEEPER_PORT,
    FlinkSettings,
    Ground,
    nodes,
    servers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Node, Process, StackAction, StackSpec
    from chaos.ports import Clock, Probe, Target
    from chaos.stacks.crew import Lab
    from chaos.stacks.flink.versions import Programs, Say

_ASK_S = 1.0  # one question
_SUBMIT_S = 60.0  # a first script is planned in seconds, on a machine that starts six more JVMs
_OWN_JOB = "numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A cluster that was launched."""

    crew: Crew
    ground: Ground
    programs: Programs
    jobmanagers: JobManagers
    began_ns: int


@dataclass(slots=True, kw_only=True)
class FlinkStack:
    """One cluster with one job; implements ports.Stack and ports.FindsRole. `phases`: seconds since `launch`."""

    spec: StackSpec
    settings: FlinkSettings
    clock: Clock = field(default_factory=MonotonicClock)
    say: Say = lambda _: None
    brokers: Sequence[str] = ()  # host:port, for jobs that read from Kafka
    phases: dict[str, float] = field(default_factory=dict)
    job_id: str = ""  # of the job that was submitted last; of copies, the first
    twins: tuple[str, ...] = ()  # ids of its further copies
    submission: jobs.Submission = field(default_factory=jobs.Submission)
    _running: Running | None = None
    _operating: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, spec: StackSpec, *, job: str = _OWN_JOB, say: Say = lambda _: None) -> FlinkStack:
        """Return the stack that an experiment describes, not yet started; `job` is what runs if it names none.

        UsageError for a wrong setting, a job or a version of it that there is not, a component that Flink has not.
        """
        if foreign := set(spec.versions) - {COMPONENT, JOB_COMPONENT}:
            there = f"{COMPONENT!r} and {JOB_COMPONENT!r}"
            raise UsageError(f"versions: {', '.join(sorted(foreign))}: flink has the components {there}")
        try:
            settings = FlinkSettings.of(spec.settings)
        except (TypeError, ValueError) as error:
            raise UsageError(f"stack flink: {error}") from error
        settings = replace(settings, job=replace(settings.job, name=settings.job.name or job))
        asked = spec.versions.get(JOB_COMPONENT, jobs.FIRST)
        jobs.check(settings.job.name, asked)
        submission = jobs.Submission(version=asked, settings=settings.job)
        return cls(spec=spec, settings=settings, submission=submission, say=say)

    # ------------------------------------------------------------ what it is

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the job, and each copy of it, reads and writes."""
        return jobs.topics(self.settings.job.name, self.settings.job.copies)

    @property
    def version(self) -> str:
        """The version of Flink that it starts with."""
        return self.spec.versions.get(COMPONENT, versions.DEFAULT_VERSION)

    def nodes(self) -> Sequence[Node]:
        """Return the nodes it wants of a lab: servers, then client nodes, without addresses."""
        return nodes(self.spec.settings)

    def cpu_limits(self) -> Mapping[str, float]:
        """Return node → cores for the nodes that are to be limited."""
        return {} if self.settings.cpu is None else dict.fromkeys(self.settings.taskmanager_names, self.settings.cpu)

    def origin(self, version: str) -> str:
        """Say what runs if `version` is asked for ("": what it starts with); UsageError if there is no such one."""
        default = "" if version or COMPONENT in self.spec.versions else "; the default"
        return f"{COMPONENT} {versions.origin(version or self.version)}{default}"

    def provide(self, asked: Sequence[str], say: Say) -> None:
        """See to it that these versions, and the one it starts with, are at hand; UsageError if one can't be had."""
        for version in dict.fromkeys((self.version, *asked)):
            versions.provide(version, say, with_store=self.settings.store)

    @property
    def running(self) -> Running:
        """The cluster; StackError before it was launched."""
        if self._running is None:
            raise StackError("flink is not up yet; call up() first")
        return self._running

    def jobmanagers_on(self, target: Lab) -> JobManagers:
        """Return how to ask the JobManagers on a target, started or not."""
        addresses = {name: target.topology().node(name).address for name in self.settings.jobmanager_names}
        endpoints = {name: f"{address}:{REST_PORT}" for name, address in addresses.items()}
        return JobManagers(endpoints=endpoints, entered=target.entered)

    # ------------------------------------------------------------ ports.Stack

    def up(self, target: Target, folder: Path) -> None:
        """Start Flink on `target`, logs below `folder`; return when every task of its job runs.

        Raises CapabilityError for a target that can't run processes, UsageError for a version that can't be had,
        StackError with the logs' tails when it does not become ready within `ready_s`.
        """
        self.launch(target, folder)
        self.await_cluster()
        self.run_job(())

    def endpoints(self) -> Mapping[str, str]:
        """Return JobManager → host:port of its REST API."""
        return self.running.jobmanagers.endpoints

    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """Return for each node what its running process reports, and the sha256 of the jar that it runs.

        "why" stands where a version is "". JobManagers and ZooKeeper are asked; a TaskManager says it in its log.
        """
        return reported.of_nodes(self)

    def operate(self, action: StackAction, node: str, timeout_s: float) -> str:
        """Carry out an operation and wait until every task of the job runs; return a sentence.

        restart: of the node's process. savepoint-upgrade (to: a version of the job), rescale (parallelism),
        resubmit (start: earliest or latest): of the job, whatever the node. UsageError for an operation that there is
        not, StackError if it is refused or does not come to its end within `timeout_s`.
        """
        if action.operation not in OPERATIONS:
            raise UsageError(f"flink has no operation {action.operation!r}; there are {', '.join(OPERATIONS)}")
        with self._operating:
            began_ns = self.clock.now_ns()
            done = operations.carry_out(self, action, node, began_ns + ns(timeout_s))
            return f"{done} after {(self.clock.now_ns() - began_ns) / NS:.1f} s"

    # ------------------------------------------------------------ ports.FindsRole

    def find(self, role: str, argument: str, timeout_s: float) -> Sequence[Node]:
        """Return the nodes that hold `role` now, in the topology's order; UsageError for an unknown role.

        running: the TaskManagers that run a task with the operator `argument` in it ("any": any task).
        """
        if role not in ROLES:
            raise UsageError(f"flink has no role {role!r}; there are {', '.join(ROLES)}")
        topology = self.running.crew.lab.topology()
        if role == LEADER:
            holders: Sequence[str | None] = (self.leader(timeout_s),)
        elif role == RUNNING:
            holders = self.carriers(argument, timeout_s)
        else:
            return topology.with_role(role)
        return tuple(node for node in topology.nodes if node.name in holders)

    def leader(self, timeout_s: float = _ASK_S) -> str | None:
        """Return the JobManager that leads, as ZooKeeper has it; None if nobody does or nobody can tell."""
        return self.leader_on(self.running.crew.lab, timeout_s)

    def leader_on(self, target: Lab, timeout_s: float) -> str | None:
        """Return the leader on a target, started or not."""
        names = self.settings.jobmanager_names
        if not self.settings.standby:
            return names[0]
        topology = target.topology()
        at = f"{topology.node(self.settings.zookeeper_names[0]).address}:{ZOOKEEPER_PORT}"
        try:
            with target.entered():
                dump, connections = (zookeeper.ask(at, word, timeout_s / 2) for word in ("dump", "cons"))
        except zookeeper.ZooKeeperError:
            return None
        return roles.leader(dump, connections, {name: topology.node(name).address for name in names})

    def carriers(self, vertex: str, timeout_s: float) -> tuple[str, ...]:
        """Return the TaskManagers that run a task with this operator; none if nobody answers."""
        try:
            ask = partial(working, job_ids=[self.job_id] if self.job_id else [])
            work = self.running.jobmanagers.ask(ask, timeout_s)
        except RestError:
            return ()
        return tuple(name for name, titles in work.items() if (vertex or roles.ANY) in titles)

    # ------------------------------------------------------------ looking

    def probes(self, target: Lab) -> Mapping[str, tuple[Probe, float]]:
        """Return name → (probe, seconds between two looks); `target` need not be up yet."""
        from chaos.probes import probes_of  # noqa: PLC0415 — probes are made of stacks, so that module imports this one

        return probes_of(self, target)

    def behind(self, timeout_s: float) -> float | None:
        """Return how many records the job's source has yet to fetch; None if there is no job, or nobody tells."""
        try:
            told = self.running.jobmanagers.ask(partial(_pending, job_id=self.job_id), timeout_s) if self.job_id else []
        except RestError:
            return None
        return sum(told) if told else None

    def newest(self) -> Job | None:
        """Return the job that was submitted last; None if there is none or nobody answers."""
        return self._job(self.job_id)

    def not_running(self) -> str:
        """Return what keeps the job or a copy of it from running, "" if nothing does."""
        found = (self._not_running(job_id) for job_id in (self.job_id, *self.twins))
        return next((why for why in found if why), "")

    def _job(self, job_id: str) -> Job | None:
        try:
            return self.running.jobmanagers.ask(lambda rest: rest.job(job_id), _ASK_S) if job_id else None
        except RestError:
            return None

    def _not_running(self, job_id: str) -> str:
        job = self._job(job_id)
        if job is None and job_id:
            return "no JobManager tells of the job"
        if job is None or job.runs:
            return roles.not_running(job)
        try:
            failures = self.running.jobmanagers.ask(lambda rest: rest.failures(job_id), _ASK_S)
        except RestError:
            failures = ()
        return roles.not_running(job, failures)

    # ------------------------------------------------------------ starting

    def launch(self, target: Target, folder: Path) -> None:
        """Start every process, and wait for none of them."""
        if not (isinstance(target, RunsProcesses) and isinstance(target, Reaches)):
            raise CapabilityError(f"target {target.name}: can't start processes; run flink on a lab (--target netns)")
        programs = versions.provide(self.version, self.say, with_store=self.settings.store)
        folder.mkdir(parents=True, exist_ok=True)
        crew = Crew(lab=target, logs=folder, clock=self.clock, what="flink")
        # A folder of one node, and every node sees it: what is isolated in a lab is networks and processes.
        shared = target.folder(self.settings.jobmanager_names[0]) / "shared"
        ground = Ground(addresses={n.name: n.address for n in target.topology().nodes}, shared=shared)
        self._running = Running(
            crew=crew,
            ground=ground,
            programs=programs,
            jobmanagers=self.jobmanagers_on(target),
            began_ns=self.clock.now_ns(),
        )
        for node in servers(self.settings):
            self._furnish(node.name, node.role)
            crew.start(node.name, self.process(node.name))
        self.note("processes started")

    def await_cluster(self) -> None:
        """Wait until every TaskManager is registered and, with a standby, somebody leads."""
        crew, deadline_ns = self.running.crew, self.running.began_ns + ns(self.settings.ready_s)
        crew.wait(self._not_answering, deadline_ns, "flink did not come up")
        self.note("JobManager answers")
        crew.wait(self.not_complete, deadline_ns, "flink did not come up")
        self.note("TaskManagers registered")

    def run_job(self, brokers: Sequence[str]) -> None:
        """Submit the job, which talks to `brokers`, and its copies; return when all tasks run."""
        self.brokers = brokers
        self.submit(self.submission)
        self.twins = tuple(self._submitted(self.submission, copy + 1) for copy in range(1, self.settings.job.copies))
        self.note("job submitted")
        deadline_ns = self.running.began_ns + ns(self.settings.ready_s)
        self.running.crew.wait(self.not_running, deadline_ns, "the job does not run")
        self.note("job RUNNING")

    def submit(self, submission: jobs.Submission) -> None:
        """Have a job planned and submitted; StackError, naming the last cause, if it is refused."""
        self.job_id = self._submitted(submission, copy=1)
        self.submission = submission

    def plan(self, submission: jobs.Submission) -> None:
        """Have a job planned and not submitted, which warms the planner up, too; StackError if it is refused."""
        self._with_script(submission, copy=1, what=_plan)

    def _submitted(self, submission: jobs.Submission, copy: int) -> str:
        return self._with_script(submission, copy, _run)

    def _with_script(self, submission: jobs.Submission, copy: int, what: Callable[[FlinkRest, str, str], str]) -> str:
        """Do something with a job's script on the JobManager that leads."""
        name, runner = self.settings.job.name, self.running.programs.runner
        script = jobs.script(name, submission, self.brokers, copy)
        via = self.leader() or self.settings.jobmanager_names[0]
        try:
            return self.running.jobmanagers.ask_one(
                via, lambda rest: what(rest, rest.upload(runner), script), _SUBMIT_S
            )
        except RestError as error:
            raise StackError(f"job {name} {submission.version} was refused by {error}") from error

    def place(self, name: str) -> Place:
        """Return where a node's process lives."""
        crew = self.running.crew
        role = crew.lab.topology().node(name).role
        return Place(role=role, name=name, folder=crew.lab.folder(name), log=crew.log(name, role))

    def process(self, name: str) -> Process:
        """Return the process of a node, as it is started."""
        running = self.running
        return process(running.programs, self.place(name), address=running.ground.addresses[name])

    def note(self, phase: str) -> None:
        """Remember when a phase of the start was over."""
        self.phases[phase] = (self.clock.now_ns() - self.running.began_ns) / NS

    def _furnish(self, name: str, role: str) -> None:
        for path, text in files(self.settings, self.running.ground, self.place(name)).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if role == JOBMANAGER:
            self.running.ground.shared.mkdir(parents=True, exist_ok=True)

    def _not_answering(self) -> str:
        try:
            self.running.jobmanagers.ask(FlinkRest.overview, _ASK_S)
        except RestError as error:
            return str(error)
        return ""

    def not_complete(self) -> str:
        """Return who is missing: TaskManagers, or a leader; "" if nobody is."""
        try:
            there = self.running.jobmanagers.ask(FlinkRest.taskmanagers, _ASK_S)
        except RestError as error:
            return str(error)
        if missing := [name for name in self.settings.taskmanager_names if name not in there]:
            return f"{', '.join(missing)}: not registered"
        return "" if self.leader() else "nobody leads"


def _run(rest: FlinkRest, jar: str, script: str) -> str:
    return rest.run_sql(jar, script)


def _plan(rest: FlinkRest, jar: str, script: str) -> str:
    rest.plan_sql(jar, script)
    return ""


def working(rest: FlinkRest, *, job_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return TaskManager → all that it may be called for its tasks of these jobs, as roles.titles has it."""
    found: dict[str, list[str]] = {}
    for job_id in job_ids:
        for vertex in rest.job(job_id).vertices:
            for name in roles.carriers(rest.subtasks(job_id, vertex.id)):
                found.setdefault(name, []).append(vertex.name)
    return {name: roles.titles(vertices) for name, vertices in found.items()}


def _pending(rest: FlinkRest, job_id: str) -> list[float]:
    told = [rest.pending(job_id, vertex) for vertex in rest.job(job_id).vertices]
    return [pending for pending in told if pending is not None]
