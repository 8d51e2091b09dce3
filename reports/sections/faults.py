"""Did each fault really happen, and is it gone? Asked and got, occurrence by occurrence.

    asked ──▶ in force since ──▶ measured: hurt path, spared path ──▶ watched ──▶ heal asked ──▶ proved gone since

A step that happened often (a crash loop) is one row with counts, its occurrences folded under it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.clock import NS
from chaos.model import EventKind, Proof
from chaos.windows import covered, last_evidence, subject
from gates.wording import seconds
from reports.sections.actions import described
from reports.series import origin_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chaos.model import Event
    from chaos.recording import Recording
    from chaos.windows import FaultSpan

FOLDED = 6  # occurrences of one step from which on they are folded
WORST = (Proof.MISMATCH, Proof.INCONCLUSIVE, Proof.CONFIRMED)
NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement as text."""

    subject: str
    name: str
    path: str
    asked: str
    got: str
    interval: str
    n: int
    proof: Proof
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OccurrenceRow:
    """One time that a step happened; moments in seconds from t = 0, None for what never came."""

    number: int
    victims: str
    asked_s: float
    effective_s: float | None
    took: str
    lasted: str
    heal_asked_s: float | None
    gone_s: float | None
    proof: Proof
    heal_proof: Proof
    detail: str
    heal_detail: str
    watched: int
    watch_broken: int
    hurt: Sequence[Measured]
    spared: Sequence[Measured]
    healed: Sequence[Measured]
    files: Sequence[str]

    @property
    def sound(self) -> bool:
        """It was as asked, stayed so, and is gone."""
        return self.proof is Proof.CONFIRMED and self.heal_proof is Proof.CONFIRMED and not self.watch_broken

    @property
    def odd(self) -> Sequence[Measured]:
        """The measurements that are not as they should be."""
        return [one for one in (*self.hurt, *self.spared, *self.healed) if one.proof is not Proof.CONFIRMED]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRows:
    """A step of the timeline and all its occurrences."""

    name: str
    what: str
    role: str
    asked_length: str
    backend: str
    rows: Sequence[OccurrenceRow]

    @property
    def folded(self) -> bool:
        """Its occurrences are too many to be read one by one."""
        return len(self.rows) >= FOLDED

    @property
    def proofs(self) -> Mapping[str, int]:
        """How many occurrences were confirmed, a mismatch, inconclusive."""
        return Counter(row.proof.value for row in self.rows)

    @property
    def heals(self) -> Mapping[str, int]:
        """How many heals were proved, and not."""
        return Counter(row.heal_proof.value for row in self.rows)

    @property
    def victims(self) -> Mapping[str, int]:
        """Who was hit how often."""
        return Counter(name for row in self.rows for name in row.victims.split(", "))

    @property
    def odd(self) -> Sequence[OccurrenceRow]:
        """The occurrences that were not as they should be."""
        return [row for row in self.rows if not row.sound]


def steps(recording: Recording) -> list[StepRows]:
    """Return every step that fired, in the order of its first occurrence."""
    told: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in recording.events:
        if event.step:
            told[event.step, event.occurrence].append(event)
    injects: dict[str, list[Event]] = defaultdict(list)
    for event in recording.events:
        if event.kind is EventKind.INJECT:
            injects[event.step].append(event)
    return [_step(recording, name, fired, told) for name, fired in injects.items()]


def _step(
    recording: Recording, name: str, fired: Sequence[Event], told: Mapping[tuple[str, int], Sequence[Event]]
) -> StepRows:
    actions = list(fired[0].data.get("actions", ()))
    for_s = fired[0].data.get("for_s")
    return StepRows(
        name=name,
        what=described(actions),
        role=str(fired[0].data.get("role", "")),
        asked_length=seconds(float(for_s)) if for_s else "",
        backend=_backend(fired[0]),
        rows=[_occurrence(recording, inject, told[name, inject.occurrence]) for inject in fired],
    )


def _occurrence(recording: Recording, inject: Event, told: Sequence[Event]) -> OccurrenceRow:
    operation = _operation(inject)
    confirmed = last_evidence(told, EventKind.CONFIRM, "confirm")
    heals = last_evidence(told, EventKind.HEAL, "heal") or (confirmed if operation else {})
    watched = [e for e in told if e.kind is EventKind.CONFIRM and e.data.get("phase") == "watch"]
    span = _span(recording, inject)
    measured = [one for event in confirmed.values() for one in _measured(event)]
    start_ns = None if operation else _seen_ns(told)
    return OccurrenceRow(
        number=inject.occurrence,
        victims=", ".join(inject.data.get("victims", ())) or "nobody",
        asked_s=_s(recording, inject.at_ns) or 0.0,
        effective_s=_s(recording, start_ns),
        took=seconds((start_ns - inject.at_ns) / NS) if start_ns is not None else NONE,
        lasted=seconds((span.end_ns - span.start_ns) / NS) if span is not None and span.healed else NONE,
        heal_asked_s=_s(recording, next((e.at_ns for e in told if _heal_asked(e)), None)),
        gone_s=_s(recording, span.end_ns) if span is not None and span.healed else None,
        proof=_worst(inject, confirmed, operation=operation),
        heal_proof=_worst(inject, heals, operation=operation),
        detail=_details(confirmed.values()) or inject.detail or "nothing was measured",
        heal_detail=_details(heals.values()) or "nothing proves that it is gone",
        watched=len(watched),
        watch_broken=sum(event.data.get("proof") != Proof.CONFIRMED for event in watched),
        hurt=[one for one in measured if one.path != "spared"],
        spared=[one for one in measured if one.path == "spared"],
        healed=[] if operation else [one for event in heals.values() for one in _measured(event)],
        files=sorted({name for event in told for name in event.data.get("files", ())}),
    )


def _heal_asked(event: Event) -> bool:
    return event.kind is EventKind.HEAL and event.detail == "asked"


def _operation(inject: Event) -> bool:
    kinds = [action.get("kind") for action in inject.data.get("actions", ())]
    return bool(kinds) and all(kind == "stack" for kind in kinds)


def _span(recording: Recording, inject: Event) -> FaultSpan | None:
    spans = recording.windows.faults
    return next((f for f in spans if (f.step, f.occurrence) == (inject.step, inject.occurrence)), None)


def _seen_ns(told: Iterable[Event]) -> int | None:
    shown = (e.data.get("effective_ns") for e in told if e.kind is EventKind.CONFIRM)
    return min((int(at_ns) for at_ns in shown if at_ns is not None), default=None)


def _s(recording: Recording, at_ns: int | None) -> float | None:
    return None if at_ns is None else round((at_ns - origin_ns(recording)) / NS, 3)


def _worst(inject: Event, evidence: Mapping[str, Event], *, operation: bool) -> Proof:
    """Return the worst proof of all subjects; one without evidence is not proved."""
    subjects = inject.data.get("subjects", inject.data.get("victims", ()))
    proofs = {_proof(event.data.get("proof")) for event in evidence.values()}
    if not evidence or (not operation and not covered(subjects, evidence)):
        proofs.add(Proof.INCONCLUSIVE)
    return next(proof for proof in WORST if proof in proofs)


def _proof(value: Any) -> Proof:
    """Read a proof; what no version of ours has written proves nothing."""
    return Proof(value) if value in set(Proof) else Proof.INCONCLUSIVE


def _details(events: Iterable[Event]) -> str:
    return "; ".join(dict.fromkeys(event.detail or str(event.data.get("detail", "")) for event in events))


def _backend(inject: Event) -> str:
    """Name what carried the actions out, as the target said it when they were injected."""
    if _operation(inject):
        return "the stack's own operation"
    return ", ".join(dict.fromkeys(name for name in inject.data.get("backends", ()) if name)) or "not told"


# ---------------------------------------------------------------- measurements


def _measured(event: Event) -> list[Measured]:
    who = subject(event)
    return [_one(who, data) for data in event.data.get("measurements", ())]


def _one(who: str, data: Mapping[str, Any]) -> Measured:
    unit, low, high = str(data.get("unit", "")), data.get("low"), data.get("high")
    return Measured(
        subject=who,
        name=str(data.get("name", "")),
        path=str(data.get("path", "hurt")),
        asked=_number(data.get("asked"), unit),
        got=_number(data.get("got"), unit),
        interval=f"{low:.3g} to {high:.3g} {unit}".strip() if low is not None and high is not None else NONE,
        n=int(data.get("n") or 0),
        proof=_proof(data.get("proof")),
        why=str(data.get("why", "")),
    )


def _number(value: float | None, unit: str) -> str:
    """Return a measured number with its unit; without one it is a question: 1 is yes."""
    if value is None:
        return "no answer"
    if not unit and value in {0, 1}:
        return "yes" if value else "no"
    return f"{value:.4g} {unit}".strip()
