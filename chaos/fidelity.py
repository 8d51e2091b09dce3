"""Did the fault really happen? Pure judging of measurements against what was asked and the bare path's own noise.

    bare path ─┐
    asked ─────┼─▶ judge ─▶ Measurement… ─▶ proof: CONFIRMED | MISMATCH | INCONCLUSIVE
    got ───────┘

What each check aims at (tests/test_fidelity.py simulates delay, jitter, and independent and burst loss, and computes
the shares exactly; a rate limit, a cut and signs of processes are thresholds without such a proof):

- a sound fault is called MISMATCH at most once in 10 000 (`FALSE_MISMATCH`),
- half or double the asked value is called MISMATCH in at least 99 % (`POWER`),
- too few packets to keep both are INCONCLUSIVE, never a guess.

Times (delay, spread): the 1 - 1e-4 confidence interval of the difference of two medians, got less bare, from order
statistics (distribution-free; David & Nagaraja, Order Statistics, 3rd ed., section 7.1). It must lie in the accepted
band to be CONFIRMED and wholly outside of it to be MISMATCH. The band is `LOW`..`HIGH` times what was asked: half
and double lie outside, a shaper's own 0.1 ms inside; where the bare path's spread is not small beside the
question, the answer is INCONCLUSIVE. Shares (loss, duplicates, reordering, corruption):
the exact binomial test of the asked share. Burst loss (Gilbert-Elliott) counts as fewer independent packets:
n (1 - λ) / (1 + λ) with λ = 1 - enter - leave, the lag-one correlation of its states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from chaos.intervals import quantile_interval, share_interval
from chaos.model import Cut, Impairment, Measurement, NodeAction, Power, Proof, Shape
from chaos.tolerances import (
    BACKGROUND,
    CUT_PACKETS,
    FALSE_MISMATCH,
    HIGH,
    HIGHEST_RATE_BIT_S,
    LOW,
    SPARED_MS,
    SPARED_SHARE,
    TOLERANCES,
    UNDELAYED_MS,
    Need,
    accepted_counts,
    asked_delays_ms,
    asked_loss,
    asked_shares,
    inflation_of,
    needed,
    packets_for_share,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Flow", "Need", "check", "judge", "judge_gone", "judge_spared", "needed", "proof", "together", "undoubted"]

_interval = partial(quantile_interval, alpha=FALSE_MISMATCH / 2)  # of each of the two that are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What the meter saw of one path (chaos/agent/flow.py says how)."""

    source: str
    sink: str
    sent: int
    received: int
    copies: int = 0
    corrupt: int = 0
    late: int = 0
    refused: int = 0  # of `sent`, by the sender's own kernel: they never left
    delays_ms: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # sorted
    train_bit_s: tuple[float, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Flow:
        """Read it from the meter's JSON."""
        return cls(
            source=data["source"],
            sink=data["sink"],
            sent=int(data["sent"]),
            received=int(data["received"]),
            copies=int(data["copies"]),
            corrupt=int(data["corrupt"]),
            late=int(data["late"]),
            refused=int(data["refused"]),
            delays_ms=np.sort(np.asarray(data["delays_ns"], dtype=np.float64) / 1e6),
            train_bit_s=tuple(data.get("train_bit_s", ())),
        )

    @property
    def left(self) -> int:
        """How many left the sender: what its own kernel refused met no path, and tells nothing of one."""
        return self.sent - self.refused

    @property
    def refusal(self) -> str:
        """A sentence of those that did not leave."""
        return f"{self.refused} of {self.sent} packets never left: the sender's kernel refused them"

    @property
    def path(self) -> str:
        """Its name in evidence."""
        return f"{self.source}→{self.sink}"


# ---------------------------------------------------------------- judging one path


def judge(action: NodeAction, bare: Flow, got: Flow) -> tuple[Measurement, ...]:
    """Judge the path that `action` is meant to hurt; for a node without power or frozen use the `check_*` below."""
    if isinstance(action, Shape):
        return judge_shaped((action.impairment,), bare, got)
    if isinstance(action, Cut | Power):
        return (judge_cut(got, dark=isinstance(action, Power)),)
    return judge_spared(bare, got, 0.0)


def judge_shaped(impairments: Sequence[Impairment], bare: Flow, got: Flow) -> tuple[Measurement, ...]:
    """Judge a path that passes all of `impairments`: only what was asked for is looked at."""
    found = [*_judge_times(impairments, bare, got)]
    shares = asked_shares(impairments)
    seen = got_shares(impairments, bare, got)
    inflation = max(inflation_of(one.burst) for one in impairments)
    for name, asked in shares.items():
        if asked:
            found.append(judge_share(name, got.path, asked, seen[name], got.left, inflation if name == "loss" else 1.0))
    rates = [one.rate_bit_s for one in impairments if one.rate_bit_s is not None]
    if rates:
        found.append(judge_rate(got, min(rates)))
    if got.refused:
        found = [replace(m, why=f"{m.why}; {got.refusal}") if m.proof is Proof.INCONCLUSIVE else m for m in found]
    return tuple(found)


def got_shares(impairments: Sequence[Impairment], bare: Flow, got: Flow) -> dict[str, int]:
    """Return how many of the packets that left were lost, repeated, ahead of the others, damaged."""
    corrupted = any(one.corrupt for one in impairments)
    missing = got.left - got.received
    lost_apart = missing - got.corrupt if corrupted else missing
    early_ms = _median(bare.delays_ms) + 500 * sum(one.delay_s for one in impairments)
    ahead = int(np.searchsorted(got.delays_ms, early_ms))
    scale = got.received / max(1, len(got.delays_ms))  # the meter may have thinned them
    lossy = any(asked_loss(one) for one in impairments)
    return {
        "loss": max(0, lost_apart),
        "duplicate": got.copies,
        "reorder": round(ahead * scale),
        "corrupt": got.corrupt if lossy else missing,  # a flipped header bit makes a packet go missing
    }


def _judge_times(impairments: Sequence[Impairment], bare: Flow, got: Flow) -> list[Measurement]:
    if not any(one.delay_s or one.jitter_s for one in impairments):
        return []
    asked = asked_delays_ms(impairments)
    reorder = impairments[0].reorder
    delayed = got.delays_ms[got.delays_ms > _median(bare.delays_ms) + _median(asked) / 2] if reorder else got.delays_ms
    upper = HIGH if not any(one.rate_bit_s for one in impairments) else math.inf  # others' packets queue before ours
    if any(one.ordered and one.jitter_s for one in impairments):
        upper = max(upper, float(asked[-1]) / max(_median(asked), 1e-6) * HIGH)  # a running maximum of the jitter
        return [judge_delay(got.path, _median(asked), bare.delays_ms, delayed, upper=upper)]
    found = [judge_delay(got.path, _median(asked), bare.delays_ms, delayed, upper=upper)]
    if any(one.jitter_s for one in impairments) and upper < math.inf:
        found.append(judge_jitter(got.path, asked, bare.delays_ms, delayed))
    return found


def judge_delay(
    path: str, asked_ms: float, bare: NDArray[np.float64], got: NDArray[np.float64], *, upper: float = HIGH
) -> Measurement:
    """Compare the median delay, less the bare path's, with what was asked."""
    name = f"delay {path}"
    inside = _interval(got, 0.5), _interval(bare, 0.5)
    if inside[0] is None or inside[1] is None:
        return _too_few(name, "ms", asked_ms, min(len(got), len(bare)), TOLERANCES["delay"].packets)
    low, high = inside[0][0] - inside[1][1], inside[0][1] - inside[1][0]
    shift = _median(got) - _median(bare)
    return _in_band(name, asked_ms, shift, (low, high), (LOW * asked_ms, upper * asked_ms), noise_ms(bare), len(got))


def judge_jitter(
    path: str, asked: NDArray[np.float64], bare: NDArray[np.float64], got: NDArray[np.float64]
) -> Measurement:
    """Compare the spread of delays (p90 less p10), less the bare path's, with that of the asked distribution."""
    name = f"jitter {path} (p90-p10)"
    want = float(np.quantile(asked, 0.9) - np.quantile(asked, 0.1))
    inside = _interval(got, 0.1), _interval(got, 0.9)
    if inside[0] is None or inside[1] is None or not len(bare):
        return _too_few(name, "ms", want, len(got), TOLERANCES["jitter"].packets)
    noise = float(np.quantile(bare, 0.9) - np.quantile(bare, 0.1))
    low, high = inside[1][0] - inside[0][1] - noise, inside[1][1] - inside[0][0]
    spread = float(np.quantile(got, 0.9) - np.quantile(got, 0.1))
    return _in_band(name, want, spread, (low, high), (LOW * want, HIGH * want), noise_ms(bare), len(got))


def _in_band(
    name: str,
    asked: float,
    got: float,
    interval: tuple[float, float],
    band: tuple[float, float],
    noise: float,
    n: int,
    unit: str = "ms",
) -> Measurement:
    """Inside the band: confirmed. Outside of it by more than the noise: mismatch. Between: inconclusive."""
    low, high = interval
    if band[0] <= low and high <= band[1]:
        proof, why = Proof.CONFIRMED, ""
    elif high < band[0] - noise or low > band[1] + noise:
        proof, why = Proof.MISMATCH, f"accepted are {band[0]:.4g} to {band[1]:.4g} {unit}"
    else:
        proof = Proof.INCONCLUSIVE
        why = (
            f"the interval crosses the edge of {band[0]:.4g} to {band[1]:.4g} {unit}; the bare path spreads {noise:.3g}"
        )
    return Measurement(name=name, unit=unit, asked=asked, got=got, low=low, high=high, n=n, proof=proof, why=why)


def judge_share(name: str, path: str, asked: float, count: int, sent: int, inflation: float = 1.0) -> Measurement:
    """Compare a share of packets with what was asked; `inflation`: packets that count as one independent packet."""
    n = int(sent / inflation)
    k = min(n, round(count / inflation))
    result = _share(f"{name} {path}", asked, count, sent, share_interval(k, n))
    least, most = accepted_counts(asked, n) if n else (0, 0)
    if n and not least <= k <= most:
        return replace(result, proof=Proof.MISMATCH, why=f"{least} to {most} of {n} would fit")
    need = packets_for_share(asked)
    if n < need:
        why = f"{sent} packets can't tell half or double from it; it takes {math.ceil(need * inflation)}"
        return replace(result, why=why)
    return replace(result, proof=Proof.CONFIRMED)


def _share(name: str, asked: float, count: int, sent: int, interval: tuple[float, float]) -> Measurement:
    got = 100 * count / sent if sent else None
    low, high = 100 * interval[0], 100 * interval[1]
    return Measurement(name=name, unit="%", asked=100 * asked, got=got, low=low, high=high, n=sent)


def judge_rate(got: Flow, asked_bit_s: float) -> Measurement:
    """Compare the speed at which trains of packets arrive with the limit; others' packets only ever slow a train."""
    name = f"rate {got.path}"
    asked = asked_bit_s / 1e6
    if asked_bit_s > HIGHEST_RATE_BIT_S:
        why = f"above {HIGHEST_RATE_BIT_S / 1e6:.0f} Mbit/s our own packets are no faster than the limit"
        return Measurement(name=name, unit="Mbit/s", asked=asked, got=None, why=why)
    if len(got.train_bit_s) < 4:
        return _too_few(name, "Mbit/s", asked, len(got.train_bit_s), 4)
    rates = np.asarray(got.train_bit_s) / 1e6
    fast, slow = float(np.quantile(rates, 0.75)), float(np.quantile(rates, 0.25))
    judged = _in_band(name, asked, fast, (fast, fast), (LOW * asked, HIGH * asked), 0.0, len(rates), "Mbit/s")
    return replace(judged, low=slow, high=fast)


def judge_cut(got: Flow, *, dark: bool = False) -> Measurement:
    """Nothing may pass. `dark`: an end has no power, so that a link that is down may refuse packets to begin with."""
    lost = got.sent - got.received
    result = Measurement(
        name=f"cut {got.path}", unit="%", asked=100.0, got=100 * lost / got.sent if got.sent else None, n=got.sent
    )
    if got.received or got.corrupt:
        return replace(result, proof=Proof.MISMATCH, why=f"{got.received} of {got.sent} packets passed")
    if got.sent < CUT_PACKETS:
        return replace(result, why=f"{got.sent} packets are too few; it takes {CUT_PACKETS}")
    if got.refused and not dark:
        return replace(result, why=got.refusal)
    return replace(result, proof=Proof.CONFIRMED)


def judge_spared(bare: Flow, got: Flow, asked_ms: float, path: str = "spared") -> tuple[Measurement, ...]:
    """Judge a path that must be as it was: one that is not hit (`path` "spared"), or one that is healed ("hurt").

    A packet that the sender's kernel refuses counts as lost here: no path was so before. `asked_ms` is the delay asked
    for on the paths that are hit: the greater of SPARED_MS and SPARED_SHARE of it may be seen here, and UNDELAYED_MS
    where none is asked for.
    """
    loss = replace(judge_background(f"loss {got.path}", got.sent - got.received, got.sent), path=path)
    if not got.received:
        return (loss,)
    return replace(_unmoved(bare, got, asked_ms), path=path), loss


def _unmoved(bare: Flow, got: Flow, asked_ms: float) -> Measurement:
    name = f"delay {got.path}"
    ours, theirs = _interval(got.delays_ms, 0.5), _interval(bare.delays_ms, 0.5)
    if ours is None or theirs is None:
        return _too_few(name, "ms", 0.0, min(got.received, bare.received), TOLERANCES["spared"].packets)
    limit = max(SPARED_MS, SPARED_SHARE * asked_ms) if asked_ms else UNDELAYED_MS
    low, high = ours[0] - theirs[1], ours[1] - theirs[0]
    shift = _median(got.delays_ms) - _median(bare.delays_ms)
    return _in_band(name, 0.0, shift, (low, high), (-math.inf, limit), noise_ms(bare.delays_ms), got.received)


def judge_gone(impairments: Sequence[Impairment], bare: Flow, got: Flow) -> tuple[Measurement, ...]:
    """Judge a path after the heal of what it passed: as before, with nothing left of any effect."""
    asked_ms = min((1e3 * one.delay_s for one in impairments if one.delay_s), default=0.0)
    found = list(judge_spared(bare, got, asked_ms, "hurt"))
    shares = asked_shares(impairments)
    if shares["duplicate"]:
        found.append(judge_background(f"duplicate {got.path}", got.copies, got.sent))
    if shares["corrupt"]:
        found.append(judge_background(f"corrupt {got.path}", got.corrupt, got.sent))
    rates = [one.rate_bit_s for one in impairments if one.rate_bit_s is not None]
    if rates and got.train_bit_s:
        fastest = got.train_bit_s[-1]
        free = fastest > HIGH * min(rates)
        found.append(
            check(f"no rate limit {got.path}", holds=free, why=f"{fastest / 1e6:.3g} Mbit/s" if not free else "")
        )
    return tuple(found)


def together(flows: Sequence[Flow]) -> Flow:
    """Put several rounds on one path together."""
    first = flows[0]
    return replace(
        first,
        sent=sum(one.sent for one in flows),
        received=sum(one.received for one in flows),
        copies=sum(one.copies for one in flows),
        corrupt=sum(one.corrupt for one in flows),
        late=sum(one.late for one in flows),
        refused=sum(one.refused for one in flows),
        delays_ms=np.sort(np.concatenate([one.delays_ms for one in flows])),
        train_bit_s=tuple(sorted(rate for one in flows for rate in one.train_bit_s)),
    )


def judge_background(name: str, count: int, sent: int) -> Measurement:
    """Allow the few packets that a busy machine loses (BACKGROUND); more is an effect that nobody asked for."""
    result = _share(name, 0.0, count, sent, share_interval(count, sent))
    if not sent:
        return replace(result, why="no packet was sent")
    most = int(stats.binom.isf(FALSE_MISMATCH, sent, BACKGROUND))
    if count > most:
        return replace(result, proof=Proof.MISMATCH, why=f"up to {most} of {sent} would be a busy machine")
    return replace(result, proof=Proof.CONFIRMED)


# ---------------------------------------------------------------- judging what is not packets


def check(name: str, *, holds: bool | None, why: str = "", path: str = "hurt", n: int = 1) -> Measurement:
    """Return a yes or no as a measurement: asked 1, got 1 (it holds), 0 (it does not) or None (not seen)."""
    if holds is None:
        return Measurement(name=name, unit="", asked=1.0, got=None, n=0, path=path, why=why)
    proof = Proof.CONFIRMED if holds else Proof.MISMATCH
    return Measurement(name=name, unit="", asked=1.0, got=float(holds), n=n, path=path, proof=proof, why=why)


def proof(measurements: Sequence[Measurement]) -> Proof:
    """One mismatch is a mismatch; nothing measured, or anything in doubt, is inconclusive."""
    proofs = {one.proof for one in measurements}
    if Proof.MISMATCH in proofs:
        return Proof.MISMATCH
    if Proof.INCONCLUSIVE in proofs or not any(one.path == "hurt" for one in measurements):
        return Proof.INCONCLUSIVE
    return Proof.CONFIRMED


def doubted(measurements: Sequence[Measurement], why: str) -> tuple[Measurement, ...]:
    """Take every mismatch for doubt: what disturbed the measuring, as `why` says, may have made it."""
    return tuple(
        replace(one, proof=Proof.INCONCLUSIVE, why=f"{why}; {one.why}") if one.proof is Proof.MISMATCH else one
        for one in measurements
    )


def undoubted(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Low-rate watch of a fault already confirmed: without a contradiction it stands."""
    return tuple(
        replace(one, proof=Proof.CONFIRMED, why=f"nothing contradicts it; {one.why}")
        if one.proof is Proof.INCONCLUSIVE and one.n
        else one
        for one in measurements
    )


def noise_ms(bare: NDArray[np.float64]) -> float:
    """Return the bare path's own noise: its p90 less its median."""
    return float(np.quantile(bare, 0.9) - np.median(bare)) if len(bare) else math.inf


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _too_few(name: str, unit: str, asked: float, n: int, need: int) -> Measurement:
    return Measurement(name=name, unit=unit, asked=asked, got=None, n=n, why=f"{n} packets arrived; it takes {need}")
