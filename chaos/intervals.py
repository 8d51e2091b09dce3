"""Intervals that assume nothing of how a path's delays are distributed. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from scipy import stats

from chaos.tolerances import FALSE_MISMATCH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def quantile_interval(values: NDArray[np.float64], quantile: float) -> tuple[float, float] | None:
    """Return the distribution-free interval of a quantile at 1 - FALSE_MISMATCH / 2; None: too few sorted values."""
    ranks = _ranks(len(values), quantile)
    return None if ranks is None else (float(values[ranks[0]]), float(values[ranks[1]]))


@lru_cache(maxsize=4096)
def _ranks(n: int, quantile: float) -> tuple[int, int] | None:
    tail = FALSE_MISMATCH / 4
    low, high = int(stats.binom.ppf(tail, n, quantile)) - 1, int(stats.binom.isf(tail, n, quantile))
    return (low, high) if n and low >= 0 and high < n else None


def share_interval(count: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper & Pearson, Biometrika 26, 1934), as drawn in reports."""
    if not n:
        return 0.0, 1.0
    low = float(stats.beta.ppf(0.025, count, n - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0
    return low, high
