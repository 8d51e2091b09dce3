"""Is there one order of all operations that explains what every client saw? Decided key by key.

    history ─▶ roles ─▶ keys with unique writes ─▶ blocks (sorting) ─▶ refused swaps placed ─▶ ok, or two blocks cross
                    └─▶ other keys, left-overs ──▶ search (orders tried, within the budget) ─▶ ok, illegal, unknown

Keys are independent (Herlihy & Wing, ACM TOPLAS 12(3), 1990, theorem 1: linearizability is local). a comes before b
iff a returned strictly before b was called; at equal times they are concurrent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chaos.model import Outcome
from gates.linearizability import appends, blocks, refused
from gates.linearizability.history import GET, Bools, History, Ints, short
from gates.linearizability.lost import relaxed, supplemented
from gates.linearizability.result import Answer, Result, Violation
from gates.linearizability.roles import Roles, roles_of
from gates.linearizability.search import Budget, Finding
from gates.linearizability.shrink import shrunk
from gates.linearizability.steps import rows_of, search_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUDGET_BYTES = 2 << 30  # of what a search remembers, if nobody says otherwise
SHRINK_S = 10.0  # at most, of what the budget has left, for a smaller witness
SHRINK_STEP_S = 1.0  # at most, for one attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """Until when (by `now`) and in how much memory."""

    now: Callable[[], float]
    until: float
    memory_bytes: int

    def share(self, among: int) -> Budget:
        """Return an equal share of what is left of the time."""
        now = self.now()
        return Budget(now=self.now, until=now + max(0.0, self.until - now) / among, memory_bytes=self.memory_bytes)


def check(
    history: History,
    *,
    budget_s: float = 60,
    budget_bytes: int = BUDGET_BYTES,
    cut_short: Mapping[str, int] | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Result:
    """Decide whether a history is linearizable.

    `budget_s`, `budget_bytes` bound the search; what they leave undecided is UNKNOWN. The fast path heeds neither: it
    sorts, in near-linear time, with some arrays as long as the history. `cut_short`: generator → last flushed ns of
    each recording that was not closed; a violation that only a lost write's absence makes is UNKNOWN then. `now`:
    seconds of a monotonic clock.
    """
    if not len(history):
        return Result(answer=Answer.UNKNOWN, reason="the history has no operations: nothing was checked")
    limits = _Limits(now=now, until=now() + budget_s, memory_bytes=budget_bytes)
    if cut_short:
        return _with_losses(history, limits, cut_short)
    return _decided(roles_of(history), limits)[0]


def _with_losses(history: History, limits: _Limits, cut_short: Mapping[str, int]) -> Result:
    roles = roles_of(history)
    certain, violation = _decided(roles_of(relaxed(roles)), limits)
    if violation is not None and not violation.by_search:
        return replace(certain, operations=len(history))
    result, violation = _decided(roles_of(supplemented(roles, min(cut_short.values()))), limits)
    result = replace(result, operations=len(history))
    if violation is None:
        return result
    names = ", ".join(sorted(cut_short))
    reason = f"{result.reason}; but {names} was cut short, and an operation that it lost may explain this"
    return replace(result, answer=Answer.UNKNOWN, reason=reason)


def _decided(roles: Roles, limits: _Limits) -> tuple[Result, Violation | None]:
    searched = roles.keys_for_search()
    violation, left_over = _sorted_out(roles, ~searched)
    searched[left_over] = True
    open_keys: list[str] = []
    if violation is None:
        violation, open_keys = _searched(roles, np.flatnonzero(searched), limits)
    present = np.bincount(roles.history.key, minlength=len(searched)) > 0
    count = Result(
        answer=Answer.OK,
        reason="there is an order that explains every answer",
        operations=len(roles.history),
        keys=int(present.sum()),
        methods={"blocks": int((present & ~searched).sum()), "search": int((present & searched).sum())},
    )
    if violation is not None:
        return _illegal(roles, violation, count), violation
    if open_keys:
        return replace(count, answer=Answer.UNKNOWN, reason="; ".join(open_keys[:3])), None
    return count, None


def _illegal(roles: Roles, violation: Violation, count: Result) -> Result:
    h = roles.history
    witness = sorted(map(h.operation, violation.rows.tolist()), key=lambda o: (o.call_ns, o.place))
    key = h.keys[violation.key]
    reason = f"key {short(key)}: {violation.reason}"
    return replace(count, answer=Answer.ILLEGAL, reason=reason, key=key, witness=tuple(witness))


# ---------------------------------------------------------------- the fast path


def _sorted_out(roles: Roles, fast: Bools) -> tuple[Violation | None, Ints]:
    """Decide what sorting decides; return a violation, or the keys on which refused swaps are left over."""
    nobody = np.empty(0, dtype=np.int64)
    if (rows := roles.never_written()).size:
        return _never_written(roles, int(rows[0])), nobody
    violation, clusters, zones = blocks.violation(roles, fast)
    if clusters is None or zones is None:
        return violation, nobody
    violation = refused.violation(clusters, fast)
    return violation, nobody if violation else refused.keys_left_over(clusters, zones, fast)


def _never_written(roles: Roles, row: int) -> Violation:
    h, seer = roles.history, roles.history.operation(row)
    wanted = h.value[row] if h.op[row] == GET else h.expect[row]
    value = short(seer.value if h.op[row] == GET else seer.expect)
    failed = np.flatnonzero((h.key == h.key[row]) & (h.op != GET) & (h.value == wanted) & (h.outcome == Outcome.FAILED))
    why = f"{value} was written only by operations that failed" if failed.size else f"nobody wrote {value}"
    return Violation(key=int(h.key[row]), reason=f"{seer}, but {why}", rows=np.unique([row, *failed[:3]]))


# ---------------------------------------------------------------- the search


def _searched(roles: Roles, keys: Ints, limits: _Limits) -> tuple[Violation | None, list[str]]:
    """Search key after key, the smallest first; return the first violation, or a sentence for each key left open.

    Each key gets an equal share of the time left; what the easy ones did not use goes to a second try of the others.
    """
    jobs = sorted((rows_of(roles, int(key)) for key in keys), key=len)
    for rows in jobs:
        if len(rows) and (pair := appends.violation(roles, rows)) is not None:
            return replace(pair, by_search=True), []
    for _ in range(2):
        left, reasons = [], []
        for number, rows in enumerate(jobs):
            budget = limits.share(len(jobs) - number)
            finding = search_of(roles, rows).run(budget)
            if finding.answer is Answer.ILLEGAL:
                return _no_order(roles, rows, limits), []
            if finding.answer is Answer.UNKNOWN:
                left.append(rows)
                reasons.append(_how_far(roles, rows, finding, budget))
        if not left or len(left) == len(jobs):
            break
        jobs = left
    return None, reasons


def _how_far(roles: Roles, rows: Ints, finding: Finding, budget: Budget) -> str:
    key = short(roles.history.keys[roles.history.key[rows[0]]])
    spent = "memory" if budget.used_bytes > budget.memory_bytes else "time"
    placed = f"{finding.placed:,} of {int(roles.ok[rows].sum()):,} operations placed after {budget.steps:,} attempts"
    return f"key {key}: the {spent} of the search ran out, {placed}; give it more, or write values that do not repeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """Searches parts of a key for a smaller witness, as long as there is time."""

    roles: Roles
    limits: _Limits

    def in_time(self) -> bool:
        return self.limits.now() < self.limits.until

    def illegal(self, rows: Ints) -> bool:
        until = min(self.limits.until, self.limits.now() + SHRINK_STEP_S)
        budget = Budget(now=self.limits.now, until=until, memory_bytes=self.limits.memory_bytes)
        return search_of(self.roles, rows).run(budget).answer is Answer.ILLEGAL


def _no_order(roles: Roles, rows: Ints, limits: _Limits) -> Violation:
    """Name the fewest operations that the time left finds to be without an order."""
    until = min(limits.until, limits.now() + SHRINK_S)
    witness = shrunk(roles, rows, _Trial(roles=roles, limits=replace(limits, until=until)))
    stuck = search_of(roles, witness).run(limits.share(1)).stuck
    best = f"; the best one has no place for {roles.history.operation(stuck)}" if stuck is not None else ""
    reason = f"no order of these {len(witness)} operations explains what they saw{best}"
    return Violation(key=int(roles.history.key[rows[0]]), reason=reason, rows=witness, by_search=True)
