"""Who is what, read from answers of REST and of ZooKeeper. Pure.

    ZooKeeper dump:  0x10…1 holds /flink/lab/leader/dispatcher/connection_info  ┐
              cons:  0x10…1 is /10.0.0.11:40312                                 ├─▶ jobmanager1 leads
    topology:        10.0.0.11 is jobmanager1                                   ┘
    REST:            subtask 1 of "OverAggregate[5] -> …" is on taskmanager3            ──▶ running: OverAggregate

Both JobManagers answer REST alike, so that can't tell the leader. The entry with its address dies with its session,
which is the leader's own: who holds that, leads, until ZooKeeper gives the session up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chaos.stacks.flink.rest import Job, Subtask

ANY = "any"  # stands for whatever operator
SOURCE = "source"  # stands for whatever reads
_BETWEEN = re.compile(r" -> |, |[()]")
_NUMBER = re.compile(r"\[\d+\]")
_SESSION = re.compile(r"^(0x[0-9a-f]+):$")
_ENTRY = re.compile(r"/leader/dispatcher/connection_info$")
_CONNECTION = re.compile(r"^\s*/([0-9.]+):\d+\[.*\bsid=(0x[0-9a-f]+)")


def leader(dump: str, connections: str, addresses: Mapping[str, str]) -> str | None:
    """Return the node whose session holds the leader's entry; None if there is no such entry or no such connection.

    `dump` and `connections` are ZooKeeper's answers to `dump` and `cons`, `addresses` node → address.
    """
    session = _holder(dump.splitlines())
    at = {match[2]: match[1] for line in connections.splitlines() if (match := _CONNECTION.match(line))}
    return next((node for node, address in addresses.items() if session and at.get(session) == address), None)


def _holder(lines: Iterable[str]) -> str:
    session = ""
    for line in lines:
        if match := _SESSION.match(line.strip()):
            session = match[1]
        elif _ENTRY.search(line.strip()):
            return session
    return ""


def operators(vertex: str) -> tuple[str, ...]:
    """Return the operators that are chained in a vertex of this name, without their numbers.

    "Source: input[1] -> (Calc[2], LocalWindowAggregate[8])" is input, Calc, LocalWindowAggregate.
    """
    named = (_NUMBER.sub("", part).strip().removeprefix("Source: ") for part in _BETWEEN.split(vertex))
    return tuple(dict.fromkeys(filter(None, named)))


def titles(vertices: Iterable[str]) -> tuple[str, ...]:
    """Return all that a TaskManager with tasks of these vertices may be called, as `running: …` has it.

    "any" and each operator; "source" of one that reads, however its table is called, and "Calc without source" of one
    that does not.
    """
    vertices = tuple(vertices)
    named = dict.fromkeys(name for vertex in vertices for name in operators(vertex))
    if not named:
        return ()
    reads = any(vertex.startswith("Source: ") for vertex in vertices)
    besides = (SOURCE,) if reads else tuple(f"{name} without {SOURCE}" for name in named)
    return (ANY, *named, *besides)


def carriers(subtasks: Iterable[Subtask]) -> tuple[str, ...]:
    """Return the TaskManagers that run at least one of these subtasks, each once."""
    return tuple(dict.fromkeys(s.taskmanager for s in subtasks if s.status == "RUNNING" and s.taskmanager))


UNTOLD = "REST tells no cause, as of a job that fails before it begins; see the JobManagers' logs"


def not_running(job: Job | None, failures: Sequence[str] = ()) -> str:
    """Return what keeps a job from running, "" if nothing does."""
    if job is None:
        return "no job was submitted"
    if job.runs:
        return ""
    waiting = [f"{vertex.name[:40]} is {vertex.status}" for vertex in job.vertices if vertex.status != "RUNNING"]
    told = failures[0] if failures else UNTOLD if job.state == "FAILED" else ""
    why = f": {told}" if told else ""
    return f"{job.name} is {job.state}{why}; {', '.join(waiting[:3])}".rstrip("; ")
