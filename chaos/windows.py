"""Which part of a run is which, from what happened and not from what was planned.

    PHASE steady      INJECT  effect seen        heal proved      INJECT …      PHASE drain
        │ t = 0         │         │                  │              │               │
        ├──── steady ───┤         ├────── fault ─────┼── recovery ──┤   …           │
        ├───────────────────────────────── run ─────────────────────────────────────┤

A fault begins when its effect was seen and ends when its heal was proved since; for a kill that is the moment in
which the process runs again. Recovery begins only when no other fault is in force. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.model import Event, EventKind, Proof, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Window = tuple[int, int]  # start and end in ns of CLOCK_MONOTONIC; the end is outside
ENDING_PHASES = frozenset({"drain", "final reads", "tear-down"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpan:
    """One occurrence of a step: asked for, in force, gone."""

    step: str
    occurrence: int
    asked_ns: int  # just before the injection was asked for
    start_ns: int  # when its effect was first seen, else when it was asked for
    end_ns: int  # since when it is proved gone; the run's end if that was never proved
    healed: bool  # every victim's heal was proved
    victims: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()  # of its actions: "cut", "signal", "stack" …


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySpan:
    """From the end of a fault, with no other in force, to the next injection or the end of the traffic."""

    step: str
    occurrence: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The spans of one run; `run` and `steady` are None if the load never reached its hold."""

    steady: Window | None
    faults: tuple[FaultSpan, ...]
    recoveries: tuple[RecoverySpan, ...]
    run: Window | None

    def select(self, span: Span) -> list[Window]:
        """Return the windows that a gate with `during: span` looks at: sorted, disjoint, inside the run."""
        if self.run is None or self.steady is None:
            return []
        spans: Mapping[Span, list[Window]] = {
            Span.RUN: [self.run],
            Span.STEADY: [self.steady],
            Span.FAULT: [(fault.start_ns, fault.end_ns) for fault in self.faults],
            Span.RECOVERY: [(recovery.start_ns, recovery.end_ns) for recovery in self.recoveries],
        }
        return union(spans[span], within=self.run)

    @property
    def unfollowed(self) -> tuple[FaultSpan, ...]:
        """Healed faults after which, with no other in force, there was no traffic that could show a recovery."""
        shown = {(recovery.step, recovery.occurrence) for recovery in self.recoveries}
        alone = (fault for fault in self.faults if fault.healed and not _in_force(self.faults, fault.end_ns))
        return tuple(fault for fault in alone if (fault.step, fault.occurrence) not in shown)


def windows(events: Iterable[Event]) -> Windows:
    """Return the spans of the run that `events`, in any order, tell of."""
    ordered = sorted(events, key=lambda event: event.at_ns)
    run = _run(ordered)
    if run is None:
        return Windows(steady=None, faults=(), recoveries=(), run=None)
    faults = _faults(ordered, run)
    first_ns = min((fault.asked_ns for fault in faults), default=run[1])
    return Windows(steady=(run[0], first_ns), faults=faults, recoveries=_recoveries(faults, run), run=run)


def union(spans: Iterable[Window], *, within: Window) -> list[Window]:
    """Clip to `within`, drop what is empty, merge what overlaps or touches."""
    merged: list[Window] = []
    for start, end in sorted((max(start, within[0]), min(end, within[1])) for start, end in spans):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _run(ordered: Sequence[Event]) -> Window | None:
    start_ns = next((e.at_ns for e in ordered if e.kind is EventKind.PHASE and e.detail == "steady"), None)
    if start_ns is None:
        return None
    ends = (e.at_ns for e in ordered if e.at_ns >= start_ns and _ends_traffic(e))
    return start_ns, next(ends, ordered[-1].at_ns)


def _ends_traffic(event: Event) -> bool:
    if event.kind is EventKind.PHASE:
        return event.detail in ENDING_PHASES
    return event.kind is EventKind.RUN and event.detail != "begin"


def _faults(ordered: Sequence[Event], run: Window) -> tuple[FaultSpan, ...]:
    told: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in ordered:
        told[event.step, event.occurrence].append(event)
    injects = [e for e in ordered if e.kind is EventKind.INJECT and run[0] <= e.at_ns < run[1]]
    return tuple(_fault(inject, told[inject.step, inject.occurrence], run) for inject in injects)


def _fault(inject: Event, told: Sequence[Event], run: Window) -> FaultSpan:
    victims = tuple(inject.data.get("victims", ()))
    subjects = tuple(inject.data.get("subjects", victims))  # of the actions: a partition may act on the other side
    kinds = tuple(action.get("kind", "") for action in inject.data.get("actions", ()))
    operation = bool(kinds) and all(kind == "stack" for kind in kinds)
    ends = _ends(told, subjects, operation=operation)
    start_ns = inject.at_ns if operation else _start_ns(inject, told)
    return FaultSpan(
        step=inject.step,
        occurrence=inject.occurrence,
        asked_ns=inject.at_ns,
        start_ns=start_ns,
        end_ns=max(start_ns, ends if ends is not None else run[1]),
        healed=ends is not None,
        victims=victims,
        kinds=kinds,
    )


def _start_ns(inject: Event, told: Sequence[Event]) -> int:
    confirmed = (e for e in told if e.kind is EventKind.CONFIRM and e.data.get("phase") in {"inject", "confirm"})
    seen = [e.data["effective_ns"] for e in confirmed if e.data.get("effective_ns") is not None]
    return max(inject.at_ns, min(seen, default=inject.at_ns))


def _ends(told: Sequence[Event], subjects: Sequence[str], *, operation: bool) -> int | None:
    """When the last subject was proved whole again; None if one of them was not."""
    heals = last_evidence(told, EventKind.HEAL, "heal")
    if operation:  # it heals by itself, and one piece of evidence speaks for all
        heals = heals or last_evidence(told, EventKind.CONFIRM, "confirm")
    elif not covered(subjects, heals):
        return None
    if not heals or any(event.data["proof"] != Proof.CONFIRMED for event in heals.values()):
        return None
    return max(effective_ns(event) for event in heals.values())


def last_evidence(told: Iterable[Event], kind: EventKind, phase: str) -> dict[str, Event]:
    """Return subject → the newest event of a kind that carries evidence of a phase."""
    found = (e for e in told if e.kind is kind and e.data.get("phase") == phase and "proof" in e.data)
    return {subject(event): event for event in found}


def covered(subjects: Iterable[str], evidence: Iterable[str]) -> bool:
    """Say whether each subject has evidence; one without a subject speaks for all, "a, b" for both."""
    named = {name.strip() for text in evidence for name in text.split(",")}
    return "" in named or set(subjects) <= named


def effective_ns(event: Event) -> int:
    """Return since when an event's evidence holds."""
    since = event.data.get("effective_ns")
    return event.at_ns if since is None else int(since)


def subject(event: Event) -> str:
    """Return the node that an event with evidence is about."""
    return event.node or str(event.data.get("subject", ""))


def _in_force(faults: Sequence[FaultSpan], at_ns: int) -> bool:
    return any(fault.start_ns <= at_ns < fault.end_ns for fault in faults)


def _recoveries(faults: Sequence[FaultSpan], run: Window) -> tuple[RecoverySpan, ...]:
    found = []
    for fault in faults:
        start_ns = fault.end_ns
        if not fault.healed or _in_force(faults, start_ns):
            continue
        end_ns = min((f.asked_ns for f in faults if f.asked_ns >= start_ns), default=run[1])
        if start_ns < min(end_ns, run[1]):
            found.append(RecoverySpan(step=fault.step, occurrence=fault.occurrence, start_ns=start_ns, end_ns=end_ns))
    return tuple(found)


def why_ended(events: Sequence[Event]) -> tuple[str, ...]:
    """Return why a run is not what was planned, a sentence each; empty if it came to its end."""
    ends = [e.detail for e in events if e.kind is EventKind.RUN and e.detail != "begin"]
    aborts = tuple(f"the run was aborted: {e.detail}" for e in events if e.kind is EventKind.ABORT)
    if not ends:
        return (*aborts, "the run has no end: the harness died while it went on")
    if ends[-1] == "complete":
        return aborts
    return aborts or (f"the run was {ends[-1]}",)
