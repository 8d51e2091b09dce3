"""What can be done to a running Flink in good order; each waits until every task of the job runs again.

restart            SIGTERM ─▶ start ─▶ registered ─▶ RUNNING
savepoint-upgrade  plan the other version ─▶ stop with savepoint ─▶ the other version, from there ─▶ RUNNING
rescale            another parallelism, asked of the adaptive scheduler ─▶ every vertex has it
resubmit           cancel ─▶ the same job, without any state, from `start` on: what an exactly-once job must not do
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.clock import NS, ns
from chaos.errors import StackError, UsageError
from chaos.stacks.flink import jobs, zookeeper
from chaos.stacks.flink.rest import ENDED, RestError
from chaos.stacks.flink.settings import ADAPTIVE, JOBMANAGER, STARTS, ZOOKEEPER_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.model import StackAction
    from chaos.stacks.flink.rest import FlinkRest
    from chaos.stacks.flink.stack import FlinkStack

_GRACE_S = 10.0
_ASK_S = 2.0


def carry_out(stack: FlinkStack, action: StackAction, node: str, deadline_ns: int) -> str:
    """Do it; return a sentence. StackError if it is refused or not over at `deadline_ns`."""
    if action.operation == "restart":
        return _restart(stack, node, deadline_ns)
    if stack.settings.job.copies > 1:
        raise StackError(f"{action.operation}: of which of the job's {stack.settings.job.copies} copies?")
    return _OF_THE_JOB[action.operation](stack, action.arguments, deadline_ns)


# ---------------------------------------------------------------- a process


def _restart(stack: FlinkStack, node: str, deadline_ns: int) -> str:
    place = stack.place(node)
    crew = stack.running.crew
    crew.restart(node, stack.process(node), _GRACE_S)
    crew.wait(lambda: _not_back(stack, node, place.role), deadline_ns, f"{node} did not come back", names=(node,))
    crew.wait(stack.not_complete, deadline_ns, f"{node} was restarted", names=(node,))
    crew.wait(stack.not_running, deadline_ns, f"{node} was restarted, and the job does not run", names=(node,))
    return f"{node}: restarted, and every task runs"


def _not_back(stack: FlinkStack, node: str, role: str) -> str:
    """Return why a process that was started again does not serve yet. Of a TaskManager, `not_complete` says it."""
    try:
        if role == JOBMANAGER:
            stack.running.jobmanagers.ask_one(node, lambda rest: rest.overview(), _ASK_S)
        elif node in stack.settings.zookeeper_names:
            lab = stack.running.crew.lab
            with lab.entered():
                zookeeper.ask(f"{lab.topology().node(node).address}:{ZOOKEEPER_PORT}", "srvr", _ASK_S)
    except StackError as error:
        return str(error)
    return ""


# ---------------------------------------------------------------- the job


def _upgrade(stack: FlinkStack, arguments: Mapping[str, str], deadline_ns: int) -> str:
    name, before = stack.settings.job.name, stack.submission
    to = arguments.get("to", before.version)
    jobs.check(name, to)
    stack.plan(replace(before, version=to))  # what can't be planned is refused while the old one runs
    began_ns = stack.clock.now_ns()
    if began_ns >= deadline_ns:
        raise StackError(f"{name} {to}: planning took all the time that there was; {before.version} runs on")
    savepoint = stop(stack, deadline_ns)
    stopped_s = (stack.clock.now_ns() - began_ns) / NS
    _start(stack, replace(before, version=to, savepoint=savepoint), deadline_ns)
    return f"{name} {before.version} stopped with a savepoint in {stopped_s:.1f} s, {to} runs from there"


def stop(stack: FlinkStack, deadline_ns: int) -> str:
    """Stop the job with a savepoint; return where that lies."""
    job, folder = stack.job_id, (stack.running.ground.shared / "savepoints").as_uri()
    request = _ask(stack, lambda rest: rest.stop(job, folder), "stop with a savepoint")
    made: list[str] = []

    def missing() -> str:
        try:
            made[:] = [stack.running.jobmanagers.ask(lambda rest: rest.savepoint(job, request), _ASK_S)]
        except RestError as error:
            if error.status == 0 and error.message.startswith("the savepoint failed"):
                raise StackError(f"stop with a savepoint: {error.message}") from error
            return str(error)
        return "" if made[0] else "not made yet"

    stack.running.crew.wait(missing, deadline_ns, "the savepoint", names=())
    _await_end(stack, deadline_ns)
    return made[0]


def _resubmit(stack: FlinkStack, arguments: Mapping[str, str], deadline_ns: int) -> str:
    start = arguments.get("start", stack.submission.settings.start)
    if start not in STARTS:
        raise UsageError(f"resubmit: start: no such one as '{start}'; there are {', '.join(STARTS)}")
    job = stack.job_id
    _ask(stack, lambda rest: rest.cancel(job), "cancel")
    _await_end(stack, deadline_ns)
    settings = replace(stack.submission.settings, start=start)
    _start(stack, replace(stack.submission, savepoint="", settings=settings), deadline_ns)
    return f"{stack.settings.job.name} cancelled and submitted again, without state, from the {start} records on"


def _rescale(stack: FlinkStack, arguments: Mapping[str, str], deadline_ns: int) -> str:
    if stack.settings.scheduler != ADAPTIVE:
        raise StackError(f"rescale: the {stack.settings.scheduler} scheduler can't; write scheduler: {ADAPTIVE}")
    wanted, job_id = int(arguments["parallelism"]), stack.job_id
    job = stack.newest()
    if job is None:
        raise StackError("rescale: nobody tells of the job")
    before = max(vertex.parallelism for vertex in job.vertices)
    _ask(stack, lambda rest: rest.rescale(job_id, {v.id: wanted for v in job.vertices}), "rescale")
    stack.running.crew.wait(lambda: _not_of(stack, wanted), deadline_ns, "the job was not rescaled", names=())
    return f"{job.name} rescaled from {before} to {wanted}"


def _not_of(stack: FlinkStack, parallelism: int) -> str:
    job = stack.newest()
    if job is None or not job.runs:
        return stack.not_running()
    odd = [vertex.name[:40] for vertex in job.vertices if vertex.parallelism != parallelism]
    return f"{odd[0]} has another parallelism" if odd else ""


def _ask(stack: FlinkStack, change: Callable[[FlinkRest], str | None], what: str) -> str:
    """Ask the leader for a change, once; StackError if it refuses."""
    via = stack.leader() or stack.settings.jobmanager_names[0]
    try:
        return stack.running.jobmanagers.ask_one(via, change, _ASK_S) or ""
    except RestError as error:
        raise StackError(f"{what} was refused by {error}") from error


def _await_end(stack: FlinkStack, deadline_ns: int) -> None:
    def lives() -> str:
        job = stack.newest()
        return "" if job and job.state in ENDED else f"{job.name} is {job.state}" if job else "nobody tells of the job"

    stack.running.crew.wait(lives, deadline_ns, "the job did not end", names=())


def _start(stack: FlinkStack, submission: jobs.Submission, deadline_ns: int) -> None:
    stack.submit(submission)
    left_ns = max(deadline_ns, stack.clock.now_ns() + ns(1.0))
    stack.running.crew.wait(stack.not_running, left_ns, "the job does not run", names=())


_OF_THE_JOB: Mapping[str, Callable[[FlinkStack, Mapping[str, str], int], str]] = {
    "savepoint-upgrade": _upgrade,
    "rescale": _rescale,
    "resubmit": _resubmit,
}
