"""Every read fits one order of all operations that respects real time (Herlihy & Wing, TOPLAS 12(3), 1990).

The checking itself is in gates/linearizability. Failed operations had no effect, unknown ones may have had it at any
time later; reads that asked for "serializable" are left out, they may be stale by their own promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.model import Outcome, Status, Verdict, to_json
from gates.wording import inconclusive

if TYPE_CHECKING:
    from chaos.recording import Recording
    from gates.linearizability import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearizable:
    """The recorded operations are linearizable, key by key; `budget` bounds the time spent on finding out."""

    budget_s: float = 60.0

    def judge(self, recording: Recording) -> Verdict:
        """Judge all operations since the load began; a violation is certain whatever else failed."""
        from gates.linearizability import History, check  # noqa: PLC0415  # its tables cost, and plan never checks

        samples = recording.samples
        seen = _observed(recording)
        if not seen:
            return inconclusive("no read or swap was answered, so nothing was observed", n=samples.num_rows)
        result = check(History.from_samples(samples), budget_s=self.budget_s, cut_short=recording.cut_short)
        return _verdict(result, seen)


def _observed(recording: Recording) -> int:
    """How many answers tell something of the state; a history of writes alone is always legal."""
    op, outcome, consistency = recording.columns("op", "outcome", "consistency")
    return int(
        np.count_nonzero((outcome == Outcome.OK) & (consistency != "serializable") & np.isin(op, ["get", "cas"]))
    )


def _verdict(result: Result, seen: int) -> Verdict:
    numbers: dict[str, Any] = {
        "n": result.operations,
        "keys": result.keys,
        "observed": seen,
        "methods": dict(result.methods),
    }
    if result.answer.name == "ILLEGAL":
        numbers |= {"key": result.key, "reason": result.reason, "witness": [to_json(one) for one in result.witness]}
        return Verdict(status=Status.FAIL, summary=f"not linearizable: {result.reason}", numbers=numbers, certain=True)
    if result.answer.name == "UNKNOWN":
        return inconclusive(result.reason, **numbers)
    summary = f"{result.operations:,} operations on {result.keys:,} keys are linearizable"
    return Verdict(status=Status.PASS, summary=summary, numbers=numbers)
