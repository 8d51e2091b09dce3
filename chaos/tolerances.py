"""How many packets a confirmation takes, and what the effects asked for look like. Pure.

    Impairment ─needed─▶ packets, seconds            Impairment… ─asked_*─▶ expected shares and delays

`TOLERANCES` is the one table: what each effect is judged by, with `FALSE_MISMATCH` and `POWER` for every row.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from chaos.model import Burst, ClockSkew, CpuQuota, Cut, DiskFault, Impairment, NodeAction, Shape, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

FALSE_MISMATCH = 1e-4
POWER = 0.99
LOW, HIGH = 0.70, 1.45  # accepted band around what was asked: half and double are outside with room for noise
BACKGROUND = 0.005  # share of packets that a busy but sound path may lose, repeat, reorder or damage
SPARED_MS = 2.0  # a spared or healed path may be slower than before by this, or by SPARED_SHARE of what was asked
SPARED_SHARE = 0.3
UNDELAYED_MS = 20.0  # where nothing that is asked delays (a kill, a cut): what a processor under peak load may add
TAIL_S = 0.3  # beyond the greatest delay asked, waited for the last packets
CPU_S = 1.0  # ten periods of a quota, between two looks at what was used of it
TRIAL_S = 0.002  # one operation on a disk that is not slow, on a machine that is busy
CLOCK_S = 1.5  # after which every process has read its offset again (libfaketime: once a second)
KILL_S = 0.2  # a killed process is seen to have ended at once
CUT_PACKETS = 50
PARETO_PACKETS = 3000  # its long tail makes p90 uncertain; 1000 leave half the spread undecided in every second check
PACKET_BITS = 8 * 128  # of our small packets, headers included
HIGHEST_RATE_BIT_S = 200e6  # above this a train of packets from user space is no faster than the limit itself
SIMULATED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What one effect needs to be judged with the stated error rates."""

    packets: int  # at least
    per_s: float  # at most
    about: str


TOLERANCES: Mapping[str, Tolerance] = MappingProxyType(
    {
        "delay": Tolerance(packets=120, per_s=200, about="median less bare median, in 0.70..1.45 of asked"),
        "jitter": Tolerance(packets=1000, per_s=1000, about="p90 - p10 less bare, in 0.70..1.45 of asked"),
        "loss": Tolerance(packets=200, per_s=1000, about="exact binomial test of the asked share"),
        "duplicate": Tolerance(packets=200, per_s=1000, about="exact binomial test of the asked share"),
        "reorder": Tolerance(packets=200, per_s=1000, about="exact binomial test of the share sent ahead"),
        "corrupt": Tolerance(packets=200, per_s=1000, about="exact binomial test of the share not intact"),
        "rate": Tolerance(packets=200, per_s=4, about="upper quartile of the trains' bit/s, in 0.70..1.45 of asked"),
        "cut": Tolerance(packets=CUT_PACKETS, per_s=100, about="none of n passes, either way"),
        "spared": Tolerance(
            packets=120, per_s=200, about="≤ 2 ms, 0.3 of asked or (none asked) 20 ms above bare; loss ≤ 0.5 %"
        ),
        "process": Tolerance(packets=CUT_PACKETS, per_s=100, about="ended, stopped or running as asked"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a confirmation takes: packets on each path, and how long sending and waiting for them last."""

    packets: int
    seconds: float

    @property
    def per_s(self) -> float:
        """The rate at which that many packets are sent in that time."""
        return self.packets / max(self.seconds, 1e-9)


# ---------------------------------------------------------------- how much is needed


def needed(action: NodeAction) -> Need:
    """Return what it takes to confirm `action` with the stated error rates. A shorter step is a mistake."""
    if isinstance(action, Shape):
        return needed_for(action.impairment)
    if isinstance(action, ClockSkew):
        return Need(packets=TOLERANCES["process"].packets, seconds=CLOCK_S + TAIL_S)
    if isinstance(action, CpuQuota):
        return Need(packets=TOLERANCES["process"].packets, seconds=CPU_S + TAIL_S)
    if isinstance(action, DiskFault):
        return Need(packets=TOLERANCES["process"].packets, seconds=trying_s(action) + TAIL_S)
    tolerance = TOLERANCES["cut" if isinstance(action, Cut) else "process"]
    return Need(packets=tolerance.packets, seconds=tolerance.packets / tolerance.per_s + TAIL_S)


def shortest_s(action: NodeAction) -> float:
    """Return how long `action` must last at least. A kill's end is seen at once, and stays seen when it runs again."""
    return KILL_S if isinstance(action, Signal) and action.signal == "KILL" else needed(action).seconds


def trying_s(action: DiskFault) -> float:
    """Return how long two looks at a disk take, each of `trials` operations of every kind, by `workers`."""
    return 2 * len(action.ops) * action.trials * (action.share * action.delay_s + TRIAL_S) / action.workers


def needed_for(impairment: Impairment) -> Need:
    """Return the need of the most demanding effect of an impairment."""
    wanted = [(TOLERANCES[name], packets) for name, packets in _packets(impairment)]
    packets = max((n for _, n in wanted), default=TOLERANCES["spared"].packets)
    sending_s = max((n / tolerance.per_s for tolerance, n in wanted), default=1.0)
    if impairment.rate_bit_s is not None:
        train = train_for(impairment.rate_bit_s)
        sending_s = max(sending_s, train.trains / train.per_s, packets * PACKET_BITS / (0.1 * impairment.rate_bit_s))
    return Need(packets=packets, seconds=sending_s + tail_s(impairment))


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """How a rate limit is seen: packets sent back to back arrive as far apart as the limit lets them."""

    trains: int
    length: int
    size: int  # bytes of payload
    per_s: float


def train_for(rate_bit_s: float) -> Train:
    """Return trains that use at most a fifth of the rate: what is measured must not be our own queue."""
    trains, length, size = 6, 8, 1200
    bits = length * (size + 28) * 8
    return Train(trains=trains, length=length, size=size, per_s=min(4.0, 0.2 * rate_bit_s / bits))


def tail_s(impairment: Impairment) -> float:
    """Return how long after the last send a packet may still arrive."""
    return TAIL_S + impairment.delay_s + 4 * impairment.jitter_s


def _packets(impairment: Impairment) -> list[tuple[str, int]]:
    found = []
    if impairment.delay_s or impairment.jitter_s:
        found.append(("delay", TOLERANCES["delay"].packets))
    if impairment.jitter_s:
        found.append(
            ("jitter", PARETO_PACKETS if impairment.distribution == "pareto" else TOLERANCES["jitter"].packets)
        )
    for name, share in asked_shares((impairment,)).items():
        if share:
            inflation = inflation_of(impairment.burst) if name == "loss" else 1.0
            found.append((name, math.ceil(packets_for_share(share) * inflation)))
    return found


@lru_cache(maxsize=256)
def packets_for_share(share: float) -> int:
    """Return the least n at which the exact test of `share` finds half and double with POWER."""
    low, high = TOLERANCES["loss"].packets, 10_000_000
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(share, middle) >= POWER + 0.002 else (middle + 1, high)
    return low


def power(share: float, n: int) -> float:
    """Return the lesser chance that n packets show half, or double, of `share` as a mismatch."""
    from scipy.special import bdtr, bdtrc  # noqa: PLC0415  # half a second, which planning a kill or a cut must not cost

    least, most = accepted_counts(share, n)
    half = bdtr(least - 1, n, share / 2) if least else 0.0
    double = bdtrc(most, n, min(1.0, 2 * share)) if share < 1 else 1.0
    return float(min(half, double))


def accepted_counts(share: float, n: int) -> tuple[int, int]:
    """Return the least and the greatest count that don't contradict `share`, at FALSE_MISMATCH in all.

    They are the binomial's quantiles from below and from above (scipy.stats has them too, for a second more).
    """
    from scipy.special import bdtr, bdtrc  # noqa: PLC0415  # as above

    tail = FALSE_MISMATCH / 2
    least = _first(n, lambda k: float(bdtr(k, n, share)) >= tail)
    return least, _first(n, lambda k: float(bdtrc(k, n, share)) <= tail)


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """Return the least count of 0…n for which something holds that then holds for all greater ones."""
    return bisect.bisect_left(range(n), True, key=holds)  # False comes before True


def inflation_of(burst: Burst | None) -> float:
    """Return how many packets of a burst-loss path count as one independent packet."""
    if burst is None:
        return 1.0
    correlation = max(0.0, 1.0 - burst.enter - burst.leave)
    return (1 + correlation) / max(1 - correlation, 1e-9)


# ---------------------------------------------------------------- what is expected


def asked_loss(impairment: Impairment) -> float:
    """Return the long-run share lost; of Gilbert-Elliott: the states' shares times their losses (tc-netem(8))."""
    burst = impairment.burst
    if burst is None:
        return impairment.loss
    bad = burst.enter / (burst.enter + burst.leave) if burst.enter + burst.leave else 0.0
    return bad * burst.loss_bad + (1 - bad) * burst.loss_good


def asked_shares(impairments: Sequence[Impairment]) -> dict[str, float]:
    """Return the expected shares of sent packets on a path that passes all `impairments` in turn."""
    passed = math.prod(1 - asked_loss(one) for one in impairments)
    intact = math.prod(1 - one.corrupt for one in impairments)
    once = math.prod(1 + one.duplicate for one in impairments)
    ahead = impairments[0].reorder if len(impairments) == 1 else 0.0
    return {
        "loss": 1 - passed,
        "duplicate": (once - 1) * passed,
        "reorder": ahead * passed,
        "corrupt": (1 - intact) * passed,
    }


def asked_delays_ms(impairments: Sequence[Impairment]) -> NDArray[np.float64]:
    """Return delays as they are asked for: SIMULATED draws, sorted, each stage clipped at 0 like netem's.

    Pareto is iproute2's table: α = 3, shifted and scaled to mean 0 and standard deviation 1, cut off at ±4.
    """
    chance = np.random.default_rng(1)
    total = np.zeros(SIMULATED)
    for one in impairments:
        total += np.maximum(0.0, one.delay_s + one.jitter_s * _standard(chance, one.distribution)) * 1e3
    return np.sort(total)


def _standard(chance: np.random.Generator, distribution: str) -> NDArray[np.float64]:
    if distribution == "normal":
        return chance.standard_normal(SIMULATED)
    if distribution == "pareto":
        raw = (1 - chance.random(SIMULATED)) ** (-1 / 3)
        return np.clip((raw - 1.5) / math.sqrt(0.75), -4.0, 4.0)
    return chance.uniform(-1.0, 1.0, SIMULATED)
