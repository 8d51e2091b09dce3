"""What a path does to its packets, as pure and seeded decisions; a backend carries them out.

    packet at `now` ──▶ lost? ──▶ twice? ──▶ serialised at the rate ──▶ delayed by a sample ──▶ release times

The terms, their order and their meaning are those of tc-netem(8), so that a rule means the same on every backend.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.model import Impairment

NS = 1_000_000_000
BUFFER_NS = (
    250_000_000  # a packet that would wait longer for the rate's clock is dropped: a router's buffer, not a well
)
OVERFLOW = None


class Line:
    """One impairment at work. Not thread-safe; equal seeds and equal packets meet equal fates.

    `constant_ns` is the delay if it is all that there is (a backend's short cut), else None.
    `corrupts` says whether `flips` needs asking.
    """

    __slots__ = (
        "_bad",
        "_free_ns",
        "_last_ns",
        "_random",
        "_z",
        "asked",
        "constant_ns",
        "corrupts",
        "lost",
        "overflow",
    )

    def __init__(self, asked: Impairment) -> None:
        self.asked = asked
        self.lost = 0
        self.overflow = 0
        self.corrupts = asked.corrupt > 0
        self.constant_ns = _constant_ns(asked)
        self._random = random.Random(asked.seed)
        self._bad = False
        self._z = 0.0
        self._free_ns = 0
        self._last_ns = 0

    def releases(self, now_ns: int, size: int) -> tuple[int, ...]:
        """Return when each copy of a packet of `size` bytes leaves; () if it is lost, two times if it is doubled."""
        asked = self.asked
        if self._loses():
            self.lost += 1
            return ()
        start_ns = now_ns if asked.rate_bit_s is None else self._serialised(now_ns, size, asked.rate_bit_s)
        if start_ns is None:
            self.overflow += 1
            return ()
        if asked.duplicate and self._random.random() < asked.duplicate:
            return self._release(now_ns, start_ns), self._release(now_ns, start_ns)
        return (self._release(now_ns, start_ns),)

    def flips(self) -> bool:
        """Whether the next packet that leaves is corrupted."""
        return self._random.random() < self.asked.corrupt

    def flip(self, packet: bytes, begin: int) -> bytes:
        """Return `packet` with one bit at or after `begin` inverted; unchanged if there is nothing after it."""
        if len(packet) <= begin:
            return packet
        bit = self._random.randrange(begin * 8, len(packet) * 8)
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)

    def _loses(self) -> bool:
        asked = self.asked
        if asked.burst is None:
            return bool(asked.loss) and self._random.random() < asked.loss
        burst = asked.burst
        loss, leave = (burst.loss_bad, burst.leave) if self._bad else (burst.loss_good, burst.enter)
        if self._random.random() < leave:
            self._bad = not self._bad
        return self._random.random() < loss

    def _serialised(self, now_ns: int, size: int, rate_bit_s: float) -> int | None:
        begin_ns = max(self._free_ns, now_ns)
        if begin_ns - now_ns > BUFFER_NS:
            return OVERFLOW
        self._free_ns = begin_ns + round(size * 8 * NS / rate_bit_s)
        return self._free_ns

    def _release(self, now_ns: int, start_ns: int) -> int:
        asked = self.asked
        if asked.reorder and self._random.random() < asked.reorder:
            return now_ns
        release_ns = start_ns + self._delay_ns()
        if asked.ordered or asked.rate_bit_s is not None:
            release_ns = self._last_ns = max(release_ns, self._last_ns)
        return release_ns

    def _delay_ns(self) -> int:
        asked = self.asked
        if not asked.jitter_s:
            return round(asked.delay_s * NS)
        return max(0, round((asked.delay_s + asked.jitter_s * self._variate()) * NS))

    def _variate(self) -> float:
        asked = self.asked
        if asked.distribution == "uniform" and not asked.correlation:
            return 2 * self._random.random() - 1
        return SHAPED[asked.distribution](self._gauss(asked.distribution))

    def _gauss(self, distribution: str) -> float:
        """Return a standard normal variate of a first-order autoregression, whose marginal stays standard normal."""
        rho = self.asked.correlation
        if distribution == "uniform":
            rho = 2 * math.sin(math.pi * rho / 6)  # Pearson's relation: the uniform marginal then has exactly `rho`
        self._z = rho * self._z + math.sqrt(max(0.0, 1 - rho * rho)) * self._random.gauss(0, 1)
        return self._z


def _constant_ns(asked: Impairment) -> int | None:
    chance = asked.jitter_s or asked.loss or asked.burst or asked.duplicate or asked.reorder or asked.corrupt
    return None if chance or asked.rate_bit_s else round(asked.delay_s * NS)


def _share_below(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def _uniform(z: float) -> float:
    return 2 * _share_below(z) - 1


def _normal(z: float) -> float:
    return z


def _pareto(z: float) -> float:
    """Shape 3, zero mean, unit deviation, cut off at 8: iproute2's pareto.dist (maketable of paretonormal's family)."""
    above = max(1 - _share_below(z), 1e-12)
    return min(8.0, (math.pow(above, -1 / 3) - 1.5) / math.sqrt(0.75))


SHAPED: dict[str, Callable[[float], float]] = {"uniform": _uniform, "normal": _normal, "pareto": _pareto}
