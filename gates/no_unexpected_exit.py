"""No process of the stack ended, restarted or cried out unless a fault or an operation explains it.

kill, power on its node            explain an end by SIGKILL while they are in force, a kill only one that we sent
an operation of the stack on it    explains an end by SIGTERM, or in peace, while it goes on; by SIGKILL if we sent it
partition, pause, latency, …       explain nothing: a sound process survives them

A SIGKILL that we did not send is somebody else's, most often the kernel's for want of memory.

A stack's log reader picks alarming lines out of `<node>-<process>.log`, which each process must have left. A line that
an action may cause (see model.Suspicion) counts unless such an action was done to its node, and not after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chaos.clock import NS
from chaos.errors import ChaosgateError
from chaos.model import Event, EventKind, Status, Verdict
from chaos.stacks import STACKS
from chaos.units import counted
from gates.wording import at, inconclusive, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.model import Suspicion
    from chaos.ports import LogReader
    from chaos.recording import Recording
    from chaos.windows import FaultSpan

KILLED = frozenset({-9, 137})  # by SIGKILL, as waitpid(2) and as shells say it
ENDED = frozenset({0, -15, 143})  # in peace or by SIGTERM
SLACK_NS = NS  # between a start and the proof that it serves again
SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NoUnexpectedExit:
    """Processes end and start only as faults and operations make them, and write nothing alarming."""

    def judge(self, recording: Recording) -> Verdict:
        """Judge process events and logs. An end by anything but a signal of ours is certain."""
        events = [event for event in recording.events if event.kind is EventKind.PROCESS]
        if not events:
            return inconclusive("nothing is known of the stack's processes", n=0)
        explain = _Explanations.of(recording)
        ends = [event for event in _ends(events) if not explain.end(event)]
        restarts = [event for event in _silent_restarts(events) if not explain.restart(event)]
        logs = _Logs.of(recording, events)
        said = [_told(recording, event) for event in ends]
        said += [f"{_name(e)} restarted before {at(recording, e.at_ns)}, its end was not seen" for e in restarts]
        said += logs.lines
        numbers = {
            "n": len({_name(e) for e in events}),
            "ends": len(ends),
            "restarts": len(restarts),
            "lines": list(logs.lines[:SHOWN]),
            "logs_missing": list(logs.missing),
            "logs_unread": logs.unread,
        }
        if said:
            certain = any(event.data.get("exit_code") not in ENDED | KILLED for event in ends)
            return Verdict(status=Status.FAIL, summary=listed(said, between="; "), numbers=numbers, certain=certain)
        if logs.missing:
            why = f"what {listed(list(logs.missing))} would say is not known: no such log is in the recording"
            return inconclusive(why, **numbers)
        if not logs.readable:
            return inconclusive(logs.said, **numbers)
        summary = f"each of {numbers['n']} ended and started only as faults and operations made it; {logs.said}"
        return Verdict(status=Status.PASS, summary=summary, numbers=numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """What may end a process of one node: "signal", "power" or "operation", and while it does."""

    kind: str
    node: str
    start_ns: int
    end_ns: int

    def explains_end(self, event: Event) -> bool:
        if event.node != self.node or not self.start_ns <= _ended_ns(event) <= self.end_ns:
            return False
        code, ours = event.data.get("exit_code"), event.data.get("killed")  # None: the target can't say
        if self.kind == "operation":
            return code in ENDED or (code in KILLED and ours is True)
        return code in KILLED and (self.kind == "power" or ours is not False)

    def explains_start(self, event: Event) -> bool:
        started_ns = int(event.data.get("started_ns", event.at_ns))
        return event.node == self.node and self.start_ns <= started_ns <= self.end_ns + SLACK_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Explanations:
    """What may end a process, and when."""

    causes: Sequence[_Cause]
    torn_down_ns: float

    @classmethod
    def of(cls, recording: Recording) -> _Explanations:
        downs = (e.at_ns for e in recording.events if e.kind is EventKind.PHASE and e.detail == "tear-down")
        causes = [cause for fault in recording.windows.faults for cause in _causes(recording.events, fault)]
        return cls(causes=causes, torn_down_ns=next(downs, float("inf")))

    def end(self, event: Event) -> bool:
        return _ended_ns(event) > self.torn_down_ns or any(cause.explains_end(event) for cause in self.causes)

    def restart(self, event: Event) -> bool:
        return any(cause.explains_start(event) for cause in self.causes)


def _causes(events: Sequence[Event], fault: FaultSpan) -> Iterator[_Cause]:
    own = [event for event in events if (event.step, event.occurrence) == (fault.step, fault.occurrence)]
    actions = [action for event in own if event.kind is EventKind.INJECT for action in event.data.get("actions", ())]
    for kind in dict.fromkeys(action["kind"] for action in actions if _kills(action)):
        for node in fault.victims:
            yield _Cause(kind=kind, node=node, start_ns=fault.asked_ns, end_ns=fault.end_ns)
    if "stack" in fault.kinds:
        yield from _operations(own, fault)


def _operations(own: Sequence[Event], fault: FaultSpan) -> Iterator[_Cause]:
    """One a node, as they were told to begin, one by one; all for the whole time where nobody told."""
    told = sorted((e.at_ns, e.node) for e in own if e.kind is EventKind.NOTE and "operation" in e.data)
    begun = told or [(fault.asked_ns, node) for node in fault.victims]
    ends = [at_ns for at_ns, _ in told[1:]] + [fault.end_ns] if told else [fault.end_ns] * len(begun)
    for (start_ns, node), end_ns in zip(begun, ends, strict=True):
        yield _Cause(kind="operation", node=node, start_ns=start_ns, end_ns=end_ns)


def _kills(action: Mapping[str, Any]) -> bool:
    return action.get("kind") == "power" or (action.get("kind") == "signal" and action.get("signal") == "KILL")


def _ended_ns(event: Event) -> int:
    return int(event.data.get("ended_ns") or event.at_ns)


def _ends(events: Sequence[Event]) -> Iterator[Event]:
    """Each end once, however often it was reported."""
    seen = set()
    for event in events:
        key = (event.node, event.data.get("name"), event.data.get("pid"), event.data.get("starts"))
        if event.detail == "ended" and key not in seen:
            seen.add(key)
            yield event


def _silent_restarts(events: Sequence[Event]) -> Iterator[Event]:
    """Find starts after the first whose end was not seen: it came and went between two looks."""
    ends = {(e.node, e.data.get("name"), e.data.get("starts")) for e in events if e.detail == "ended"}
    for event in sorted(events, key=lambda e: e.at_ns):
        starts = int(event.data.get("starts", 1))
        if event.detail == "started" and starts > 1 and (event.node, event.data.get("name"), starts - 1) not in ends:
            yield event


# ---------------------------------------------------------------- logs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Logs:
    """What logs say: alarming lines that nothing explains; the logs that are not there; why none were read, if so."""

    read: int = 0
    lines: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unread: str = ""
    readable: bool = True  # False: another machine, with that stack's package, might read them

    @classmethod
    def of(cls, recording: Recording, events: Sequence[Event]) -> _Logs:
        stack = _stack(recording)
        reader, unread = _reader(stack)
        if reader is None:
            return cls(unread=unread, readable=stack in STACKS)
        writers = {f"{event.node}-{event.data.get('name')}.log": event.node for event in events}
        there = {name: node for name, node in writers.items() if name in recording.logs}
        found = [(name, node, line) for name, node in there.items() for line in reader(recording.logs[name])]
        lines = [
            f"{name}:{line.number}: {line.line}"
            for name, node, line in found
            if not any(_explains(recording, fault, node, line) for fault in recording.windows.faults)
        ]
        missing = sorted(writers.keys() - there.keys())
        return cls(read=len(there), lines=tuple(lines), missing=tuple(missing))

    @property
    def said(self) -> str:
        if self.unread:
            return f"their logs were not read: {self.unread}"
        return f"nothing alarming in {counted(self.read, 'log')}"


def _reader(stack: str) -> tuple[LogReader | None, str]:
    """Return what reads a stack's logs, or why nothing does."""
    if not stack:
        return None, "the recording does not say of which stack they are"
    if stack not in STACKS:
        return None, f"there is no stack {stack!r} here"
    reader: LogReader | None = getattr(STACKS[stack], "log_reader", None)
    return reader, "" if reader else f"stack {stack!r} has no log reader"


def _explains(recording: Recording, fault: FaultSpan, node: str, line: Suspicion) -> bool:
    """Say whether a fault may have caused a line: it was such a one, on this node, and not after it."""
    if node not in fault.victims or not set(fault.kinds) & set(line.explained_by):
        return False
    at_ns = _monotonic_ns(recording, line.at_s)
    return at_ns is None or at_ns >= fault.asked_ns - SLACK_NS


def _monotonic_ns(recording: Recording, at_s: float | None) -> int | None:
    """Return a wall clock's time on the run's own clock; None where the line or the recording does not say."""
    try:
        began_s = datetime.fromisoformat(str(recording.run["started_utc"])).timestamp()
        began_ns = int(recording.run["started_ns"])
    except (KeyError, TypeError, ValueError):
        return None
    return None if at_s is None else began_ns + round((at_s - began_s) * NS)


def _stack(recording: Recording) -> str:
    try:
        return str(recording.run.get("stack") or recording.experiment.stack.name)
    except ChaosgateError:  # a recording without its experiment is judged by its processes alone
        return ""


def _name(event: Event) -> str:
    name = event.data.get("name")
    return f"{event.node}/{name}" if name else event.node


def _told(recording: Recording, event: Event) -> str:
    code = event.data.get("exit_code")
    how = f"by signal {-code}" if isinstance(code, int) and code < 0 else f"with code {code}"
    return f"{_name(event)} ended {how} at {at(recording, _ended_ns(event))}; no fault explains it"
