"""What operations of our own on a node's disk say of a fault of it. Pure.

    bare trials (before) ─┐
    asked ────────────────┼─▶ slow as asked, or failed as asked, as often as asked
    trials (now) ─────────┘

A trial is [nanoseconds, errno]; chaos/agent/disks.py makes them.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.fidelity import check, judge_delay, judge_share
from chaos.model import Measurement, Proof
from chaos.tolerances import SPARED_MS, SPARED_SHARE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from chaos.model import DiskFault

    Look = Mapping[str, Any]
    Trials = Sequence[Sequence[int]]


def in_force(action: DiskFault, undo: Look, first: Look, second: Look) -> tuple[Measurement, ...]:
    """Judge whether the rule is there, and whether both looks met it."""
    if second["state"] is None:
        return (check(f"disk of {undo['subject']}", holds=False, why=second["why"]),)
    held = undo["name"] in second["state"]["faults"]
    found = [check(f"disk of {undo['subject']}", holds=held, why="" if held else "it holds no rule of this action")]
    for kind in action.ops:
        now = [*first["trials"].get(kind, ()), *second["trials"].get(kind, ())]
        found += _hit(action, f"{kind} on {undo['subject']}", undo["bare"][kind], now)
    return tuple(found)


def gone(action: DiskFault, undo: Look, second: Look) -> tuple[Measurement, ...]:
    """Judge whether the disk is as it was; of one that nobody serves any more, nothing can be told."""
    if second["state"] is None:
        return (check(f"disk of {undo['subject']}", holds=None, why=second["why"]),)
    held = undo["name"] in second["state"]["faults"]
    found = [check(f"disk of {undo['subject']}", holds=not held, why="the rule is still there" if held else "")]
    trials = second["trials"]
    back = (_as_before(action, f"{k} on {undo['subject']}", undo["bare"][k], trials[k]) for k in action.ops)
    return *found, *back


def _hit(action: DiskFault, name: str, bare: Trials, now: Trials) -> Iterator[Measurement]:
    if not now:
        yield check(name, holds=None, why="nothing was tried")
        return
    if action.error:
        code = getattr(errno, action.error)
        failed = sum(number == code for _, number in now)
        yield _share(f"{action.error} of {name}", action.share, failed, len(now))
    asked_ms = 1e3 * action.delay_s
    if asked_ms and action.share == 1:
        yield judge_delay(name, asked_ms, _times_ms(bare), _times_ms(now))
    elif asked_ms:
        slow = int(np.sum(_times_ms(now) > np.median(_times_ms(bare)) + asked_ms / 2))
        yield _share(f"slow {name}", action.share, slow, len(now))


def _share(name: str, asked: float, count: int, tried: int) -> Measurement:
    if asked < 1:
        return judge_share(name, "", asked, count, tried)
    why = "" if count == tried else f"{count} of {tried}"
    return check(name, holds=count == tried, why=why, n=tried)


def _as_before(action: DiskFault, name: str, bare: Trials, now: Trials) -> Measurement:
    if failed := [number for _, number in now if number]:
        why = f"{len(failed)} of {len(now)} failed, {errno.errorcode.get(failed[0], failed[0])}"
        return check(name, holds=False, why=why)
    before, after = float(np.median(_times_ms(bare))), float(np.median(_times_ms(now)))
    most = before + max(SPARED_MS, SPARED_SHARE * 1e3 * action.delay_s)
    proof = Proof.CONFIRMED if after <= most else Proof.MISMATCH
    why = "" if after <= most else f"at most {most:.3g} ms would fit"
    return Measurement(name=name, unit="ms", asked=before, got=after, n=len(now), proof=proof, why=why)


def _times_ms(trials: Trials) -> NDArray[np.float64]:
    return np.sort(np.asarray([took for took, _ in trials], dtype=np.float64) / 1e6)
