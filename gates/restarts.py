"""A job restarts when something breaks, and only then, and runs in the end.

flink-restarts   0 0 0 │ 0 1 1 │ 1 1 …          a fault may cost so many
                 steady  fault   recovery       none before the first one
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.model import Span, Status, Verdict
from chaos.units import counted
from gates.counters import one_series
from gates.wording import inconclusive, no_window

if TYPE_CHECKING:
    from chaos.recording import Recording

COUNTERS = ("flink-restarts", "checkpoint-restored")  # the first one begins anew with another JobManager
STATE = "flink-job-state"
RUNNING = "RUNNING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """The job restarts at most `per_fault` times for each fault, never before the first, and runs when traffic ends."""

    per_fault: int = 1

    def __post_init__(self) -> None:
        if self.per_fault < 0:
            raise ValueError("per-fault: 0 or more")

    def judge(self, recording: Recording) -> Verdict:
        """Judge by how the counters grew, and by the last known state."""
        run, steady = (recording.windows.select(span) for span in (Span.RUN, Span.STEADY))
        if not run:
            return no_window(Span.RUN)
        counters = [one_series(recording, name) for name in COUNTERS]
        early, total = (max(round(one.growth(spans)[0]) for one in counters) for spans in (steady, run))
        if not any(one.growth(run)[1] for one in counters):
            return inconclusive("nobody counted the job's restarts", n=0)
        faults = len(recording.windows.faults)
        allowed, ended = self.per_fault * faults, self._ended(recording)
        numbers = {"restarts": total, "allowed": allowed, "before_any_fault": early, "n": faults, "state": ended}
        status, summary = _answer(total, faults, allowed, early, ended)
        return Verdict(status=status, summary=summary, numbers=numbers)

    def _ended(self, recording: Recording) -> str:
        """Return the job's state as it was last seen before the traffic ended."""
        (run,) = recording.windows.select(Span.RUN)
        told = [r for r in recording.readings if r.name == STATE and run[0] <= r.at_ns < run[1]]
        return told[-1].text if told and told[-1].value is not None else ""


def _answer(total: int, faults: int, allowed: int, early: int, ended: str) -> tuple[Status, str]:
    said = f"{counted(total, 'restart')} in {counted(faults, 'fault')}, at most {allowed}"
    if early:
        return Status.FAIL, f"{counted(early, 'restart')} before anything was broken"
    if total > allowed:
        return Status.FAIL, said
    if not ended:
        return Status.INCONCLUSIVE, f"{said}; nobody said in the end whether the job runs"
    if ended != RUNNING:
        return Status.FAIL, f"the job was {ended} when the traffic ended; {said}"
    return Status.PASS, f"{said}; it runs"
