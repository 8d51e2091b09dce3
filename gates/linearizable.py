"""Every read fits one order of all operations that respects real time (Herlihy & Wing, TOPLAS 12(3), 1990).

The checking itself is in gates/linearizability. Failed operations had no effect, unknown ones may have had it at any
time later; reads that asked for "serializable" are left out, they may be stale by their own promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.model import Outcome, Status, Verdict, to_json
from gates.wording import inconclusive, too_few

if TYPE_CHECKING:
    from chaos.recording import Recording
    from gates.linearizability import Result
    from gates.traffic import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearizable:
    """The recorded operations are linearizable, key by key.

    `observed_min`: fewer answered reads and swaps can't tell, be it in the run or since the first fault was injected.
    `budget`, `budget_memory` bound the search for an order of operations whose values repeat; keys with unique values
    are decided by sorting, in near-linear time, which heeds neither.
    """

    observed_min: int = 100
    budget_s: float = 60.0
    budget_memory_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        if self.observed_min < 1:
            raise ValueError(f"observed-min: {self.observed_min} would let silence pass; write 1 or more")

    def judge(self, recording: Recording) -> Verdict:
        """Judge all operations since the load began; a violation is certain whatever else failed."""
        from gates.linearizability import History, check  # noqa: PLC0415  # its tables cost, and plan never checks

        samples = recording.samples
        observed = _observed(recording)
        if not observed.size:
            return inconclusive("no read or swap was answered, so nothing was observed", n=samples.num_rows)
        result = check(
            History.from_samples(samples),
            budget_s=self.budget_s,
            budget_bytes=self.budget_memory_bytes,
            cut_short=recording.cut_short,
        )
        scarce = too_few(recording, observed.tolist(), self.observed_min, "answered reads and swaps")
        return _verdict(result, observed.size, scarce)


def _observed(recording: Recording) -> Array:
    """When each answer came that tells something of the state, in ns; a history of writes alone is always legal."""
    op, outcome, consistency, return_ns = recording.columns("op", "outcome", "consistency", "return_ns")
    tells = (outcome == Outcome.OK) & (consistency != "serializable") & np.isin(op, ["get", "cas"])
    answered: Array = return_ns[tells]
    return answered


def _verdict(result: Result, seen: int, scarce: str) -> Verdict:
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
    if scarce:
        return inconclusive(f"{scarce}; nothing that was seen is wrong", **numbers)
    summary = f"{result.operations:,} operations on {result.keys:,} keys are linearizable"
    return Verdict(status=Status.PASS, summary=summary, numbers=numbers)
