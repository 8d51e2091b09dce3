"""Flink looked at: its cluster, its newest job, that job's checkpoints and vertices. All from REST.

    JobManagers, TaskManagers ──▶ up, leader, running
    job ─────────────────────────▶ flink-job-state, flink-restarts, checkpoint-restored, lag
    checkpoints ─────────────────▶ checkpoints-completed, checkpoints-failed, checkpoint-duration
    vertices ────────────────────▶ vertex-in, vertex-out, vertex-busy, vertex-backpressure

Counters, never Flink's rates: those are means over a minute. Who does not answer is a Reading without a value, never a
zero. Counters begin anew with another JobManager, and those of a vertex with each attempt of its tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from chaos.clock import MonotonicClock
from chaos.model import Reading
from chaos.stacks.flink import jobs
from chaos.stacks.flink.rest import FlinkRest, Job, RestError, Vertex
from chaos.stacks.flink.stack import working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chaos.ports import Clock
    from chaos.stacks.crew import Lab
    from chaos.stacks.flink.stack import FlinkStack

Answer = TypeVar("Answer")

_OF_THE_JOB = (
    "flink-job-state",
    "flink-restarts",
    "checkpoints-completed",
    "checkpoints-failed",
    "checkpoint-duration",
    "checkpoint-restored",
)
_RESTARTS = "numRestarts"
_NO_JOB = "no job has been submitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterProbe:
    """Who is there, who leads, who has work.

    Readings: "up" of each JobManager (it answers for itself) and TaskManager (the leader has it registered); "leader"
    1 or 0 of each JobManager, as ZooKeeper has it; "running" 1 or 0 of each TaskManager: does it run a task of the job?
    Its text is all that `running: …` may call it.
    """

    stack: FlinkStack
    target: Lab
    clock: Clock = field(default_factory=MonotonicClock)

    @classmethod
    def of(cls, stack: FlinkStack, target: Lab) -> ClusterProbe:
        """Return the probe of a stack on a target, started or not."""
        return cls(stack=stack, target=target, clock=stack.clock)

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Ask the JobManagers, ZooKeeper, and whoever leads."""
        share_s = timeout_s / 4
        return [*self._jobmanagers(share_s), *self._leader(share_s), *self._taskmanagers(2 * share_s)]

    def _jobmanagers(self, timeout_s: float) -> Iterator[Reading]:
        managers = self.stack.jobmanagers_on(self.target)
        for name in managers.endpoints:
            said = _answered(partial(managers.ask_one, name, FlinkRest.version, timeout_s / 2))
            yield self._reading("up", name, said if isinstance(said, RestError) else 1.0)

    def _leader(self, timeout_s: float) -> Iterator[Reading]:
        leader = self.stack.leader_on(self.target, timeout_s)
        unknown = RestError("nobody leads, or ZooKeeper does not answer")
        for name in self.stack.settings.jobmanager_names:
            yield self._reading("leader", name, float(leader == name) if leader else unknown)

    def _taskmanagers(self, timeout_s: float) -> Iterator[Reading]:
        managers = self.stack.jobmanagers_on(self.target)
        there = _answered(partial(managers.ask, FlinkRest.taskmanagers, timeout_s / 2))
        there_are = [job_id for job_id in (self.stack.job_id, *self.stack.twins) if job_id]
        work = _answered(partial(managers.ask, partial(working, job_ids=there_are), timeout_s / 2))
        for name in self.stack.settings.taskmanager_names:
            yield self._reading("up", name, _registered(there, name))
            if isinstance(work, RestError):
                yield self._reading("running", name, work)
            else:
                yield self._reading("running", name, float(name in work), ", ".join(work.get(name, ())))

    def _reading(self, name: str, node: str, said: float | RestError, text: str = "") -> Reading:
        return _reading(name, node, self.clock.now_ns(), said, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProbe:
    """The job that was submitted last.

    Readings without a node: "flink-job-state", 1 while every task runs, else 0, its text the state ("RUNNING" with 0:
    tasks are still being started); "flink-restarts"; "checkpoints-completed", "checkpoints-failed",
    "checkpoint-restored" (how often it began from one), "checkpoint-duration" in s, of the newest that completed, its
    text the number of that; "lag", the records that its source has yet to fetch, its text the topic. Node = vertex:
    "vertex-in", "vertex-out" (records from and to other vertices, by the current attempts), "vertex-busy",
    "vertex-backpressure" (shares of time).
    """

    stack: FlinkStack
    target: Lab
    clock: Clock = field(default_factory=MonotonicClock)

    @classmethod
    def of(cls, stack: FlinkStack, target: Lab) -> JobProbe:
        """Return the probe of a stack on a target, started or not."""
        return cls(stack=stack, target=target, clock=stack.clock)

    def read(self, timeout_s: float) -> Sequence[Reading]:
        """Ask whichever JobManager answers."""
        job_id = self.stack.job_id
        if not job_id:
            return self._silent(RestError(_NO_JOB))
        managers = self.stack.jobmanagers_on(self.target)
        try:
            return managers.ask(lambda rest: self._of_job(rest, job_id), timeout_s)
        except RestError as error:
            return self._silent(error)

    def _silent(self, error: RestError) -> list[Reading]:
        now = self.clock.now_ns()
        return [Reading(name=name, node="", at_ns=now, value=None, why=str(error)) for name in _OF_THE_JOB]

    def _of_job(self, rest: FlinkRest, job_id: str) -> list[Reading]:
        job = rest.job(job_id)
        now = self.clock.now_ns()
        state = Reading(name="flink-job-state", node="", at_ns=now, value=float(job.runs), text=job.state)
        return [
            state,
            *self._restarts(rest, job_id),
            *self._checkpoints(rest, job_id),
            *self._lag(rest, job),
            *self._vertices(rest, job),
        ]

    def _restarts(self, rest: FlinkRest, job_id: str) -> Iterator[Reading]:
        """Yield the number of restarts. A job's first answer is 0 or -1 until the leader has asked itself."""
        told = rest.metrics(job_id, [_RESTARTS]).get(_RESTARTS, -1.0)
        said: float | RestError = told if told >= 0 else RestError("not counted yet")
        yield _reading("flink-restarts", "", self.clock.now_ns(), said)

    def _checkpoints(self, rest: FlinkRest, job_id: str) -> Iterator[Reading]:
        found = rest.checkpoints(job_id)
        now = self.clock.now_ns()
        counts = {
            "checkpoints-completed": found.completed,
            "checkpoints-failed": found.failed,
            "checkpoint-restored": found.restored,
        }
        for name, count in counts.items():
            yield Reading(name=name, node="", at_ns=now, value=float(count))
        newest: float | RestError = RestError("none completed yet") if found.newest_s is None else found.newest_s
        yield _reading("checkpoint-duration", "", now, newest, str(found.newest_id or ""))

    def _lag(self, rest: FlinkRest, job: Job) -> Iterator[Reading]:
        """Yield how far the job is behind, a topic: a job of ours has one source, and so reads one."""
        told = [pending for v in job.vertices if (pending := rest.pending(job.id, v)) is not None]
        unknown = RestError("its source has told of nothing yet")
        for topic in jobs.kind(self.stack.settings.job.name).reads:
            yield _reading("lag", "", self.clock.now_ns(), sum(told) if told else unknown, topic)

    def _vertices(self, rest: FlinkRest, job: Job) -> Iterator[Reading]:
        for vertex in job.vertices:
            name = short(vertex)
            now = self.clock.now_ns()
            yield Reading(name="vertex-in", node=name, at_ns=now, value=float(vertex.records_in), text=vertex.name)
            yield Reading(name="vertex-out", node=name, at_ns=now, value=float(vertex.records_out), text=vertex.name)
            busy = rest.busy(job.id, vertex.id)
            now = self.clock.now_ns()
            silent = RestError("its tasks have told of nothing yet")
            yield _reading("vertex-busy", name, now, silent if busy is None else busy.busy)
            yield _reading("vertex-backpressure", name, now, silent if busy is None else busy.backpressured)


def short(vertex: Vertex) -> str:
    """Return the first operator of a chain: "Source: input[1] -> Calc[2]" is "Source: input[1]"."""
    return vertex.name.split(" -> ")[0]


def _answered(question: Callable[[], Answer]) -> Answer | RestError:
    try:
        return question()
    except RestError as error:
        return error


def _registered(there: Sequence[str] | RestError, name: str) -> float | RestError:
    if isinstance(there, RestError):
        return there
    return 1.0 if name in there else RestError(f"{name} is not registered")


def _reading(name: str, node: str, at_ns: int, said: float | RestError, text: str = "") -> Reading:
    if isinstance(said, RestError):
        return Reading(name=name, node=node, at_ns=at_ns, value=None, why=str(said), text=text)
    return Reading(name=name, node=node, at_ns=at_ns, value=said, text=text)
