"""One occurrence of a step while it is in force: its evidence on the way in, its heal on the way out.

inject ──▶ confirm ──▶ watch, watch, … ──▶ heal asked ──▶ heal proved
(an operation of the stack heals itself: its end is its proof)
"""

from __future__ import annotations

import queue
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from chaos.model import Event, EventKind, Evidence, Proof, to_json

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from chaos.ports import Injection


def failed_evidence(at_ns: int, why: str, *, phase: str = "confirm", subject: str = "") -> Evidence:
    """Return evidence that says that nothing could be shown, and why."""
    return Evidence(
        at_ns=at_ns, phase=phase, subject=subject, action="", proof=Proof.INCONCLUSIVE, detail=why, effective_ns=None
    )


class InForce:
    """What the engine keeps of one occurrence; only the engine's thread calls it."""

    def __init__(self, step: str, occurrence: int) -> None:
        self.step, self.occurrence = step, occurrence
        self.healing = False
        self._injection: Injection | None = None
        self._operation: Future[Evidence] | None = None
        self._healed: Future[Evidence] | None = None
        self._asking: Future[Future[Evidence]] | None = None
        self._reported = False

    @classmethod
    def injection(cls, step: str, occurrence: int, injection: Injection) -> InForce:
        """Wrap a reversible change."""
        force = cls(step, occurrence)
        force._injection = injection
        return force

    @classmethod
    def operation(cls, step: str, occurrence: int, running: Future[Evidence]) -> InForce:
        """Wrap an operation of the stack, which heals by ending."""
        force = cls(step, occurrence)
        force._operation = running
        force.healing = True
        return force

    @property
    def label(self) -> str:
        """How progress and messages call it."""
        return self.step if self.occurrence == 0 else f"{self.step}#{self.occurrence}"

    @property
    def over(self) -> bool:
        """Whether its heal is proved, or known to have failed, and reported."""
        return self._reported

    def heal(self, healers: Executor) -> None:
        """Ask for the undo in a healer's thread; idempotent."""
        if self.healing or self._injection is None:
            return
        self.healing = True
        self._asking = healers.submit(self._injection.heal)

    def open(self) -> list[Future[Any]]:
        """Return what it waits for, to be waited for."""
        futures = (self._operation, self._healed, self._asking if self._healed is None else None)
        return [] if self._reported else [future for future in futures if future is not None]

    def arrived(self, now_ns: int) -> list[Event]:
        """Return what is new as events, oldest first; `now_ns` dates what has no time of its own."""
        events = [self._event(evidence) for evidence in self._drain()]
        if not self._reported and (end := self._end()) is not None:
            events.extend([*(self._event(e) for e in self._drain()), *self._ended(end, now_ns)])
            self._reported = True
        return events

    def given_up(self, now_ns: int) -> list[Event]:
        """Return what there is to say of an operation that goes on when nobody waits for it any longer."""
        if self._operation is None or self._reported:
            return []
        self._reported = True
        return [self._event(failed_evidence(now_ns, "the operation had not ended when the run did"))]

    def problem(self) -> str:
        """Return why it is not healed; empty if it is."""
        if self._operation is not None:
            return ""  # an operation that failed is judged; there is nothing of ours to undo
        if self._healed is None or not self._healed.done():
            return "no answer to the heal within its time"
        error = self._healed.exception()
        if error is None and self._healed.result().proof is Proof.MISMATCH:
            return f"measured to be there still: {self._healed.result().detail}"
        return "" if error is None else str(error) or repr(error)

    def _drain(self) -> list[Evidence]:
        found: list[Evidence] = []
        while self._injection is not None:
            try:
                found.append(self._injection.events.get_nowait())
            except queue.Empty:
                break
        return found

    def _end(self) -> Future[Evidence] | None:
        if self._operation is not None:
            return self._operation if self._operation.done() else None
        if self._healed is None and self._asking is not None and self._asking.done():
            self._healed = self._asking.result() if self._asking.exception() is None else _raised(self._asking)
        return self._healed if self._healed is not None and self._healed.done() else None

    def _ended(self, end: Future[Evidence], now_ns: int) -> list[Event]:
        error = end.exception()
        if self._operation is None:
            return (
                [] if error is None else [self._failed(end, "heal", now_ns)]
            )  # a proved heal is among the injection's events
        if error is not None:
            return [self._failed(end, "confirm", now_ns), self._failed(end, "heal", now_ns)]
        done = end.result()
        return [self._event(done), self._event(_as_heal(done))]

    def _failed(self, end: Future[Evidence], phase: str, now_ns: int) -> Event:
        return self._event(failed_evidence(now_ns, f"{phase} failed: {end.exception()}", phase=phase))

    def _event(self, evidence: Evidence) -> Event:
        return Event(
            at_ns=evidence.at_ns,
            kind=EventKind.HEAL if evidence.phase == "heal" else EventKind.CONFIRM,
            detail=evidence.detail,
            step=self.step,
            occurrence=self.occurrence,
            node=evidence.subject,
            data=to_json(evidence),
        )


def _raised(asking: Future[Future[Evidence]]) -> Future[Evidence]:
    failed: Future[Evidence] = Future()
    failed.set_exception(asking.exception())
    return failed


def _as_heal(done: Evidence) -> Evidence:
    return Evidence(
        at_ns=done.at_ns,
        phase="heal",
        subject=done.subject,
        action=done.action,
        proof=done.proof,
        detail=done.detail,
        effective_ns=done.effective_ns,
    )
