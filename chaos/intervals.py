"""How sure a number is, and how many samples would make it sure enough: exact binomial intervals, two-sided.

A share k/n:  Clopper & Pearson, Biometrika 26 (1934).
A quantile:   the order statistics between whose ranks it lies (David & Nagaraja, Order Statistics, 3rd ed., 7.1);
              no assumption about the distribution, infinite values included.

Operations of one outage are not independent, so an interval is the least uncertainty there is, not the most.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHA = 0.05  # of both sides together, where nothing else is said
Z = 1.959964  # the normal deviate of 1 - ALPHA/2


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Return the interval of a share, of which `hits` of `n` were seen; (0, 1) if there is nothing."""
    from scipy.special import betaincinv  # noqa: PLC0415  # half a second that reading an experiment must not cost

    if n == 0:
        return 0.0, 1.0
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, ALPHA / 2))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - ALPHA / 2))
    return low, high


@lru_cache(maxsize=4096)
def quantile_ranks(n: int, quantile: float, alpha: float = ALPHA) -> tuple[int | None, int | None]:
    """Return the 0-based ranks of the sorted samples between which the quantile lies; None: beyond all samples.

    The quantile is below the r-th smallest with probability P(Binomial(n, quantile) < r).
    """
    import numpy as np  # noqa: PLC0415  # as below
    from scipy.special import bdtr  # noqa: PLC0415  # half a second that reading an experiment must not cost

    if n == 0:
        return None, None
    reach = 12 * math.sqrt(n * quantile * (1 - quantile)) + 12
    ranks = np.arange(max(0, int(n * quantile - reach)), min(n - 1, int(n * quantile + reach)) + 1)
    at_most = bdtr(ranks, n, quantile)  # P(no more than `rank` samples lie below the quantile)
    low = ranks[at_most <= alpha / 2]
    high = ranks[at_most >= 1 - alpha / 2]
    return (int(low[-1]) if low.size else None), (int(high[0]) if high.size else None)


def quantile_interval(values: NDArray[np.float64], quantile: float, alpha: float) -> tuple[float, float] | None:
    """Return the interval of a quantile of sorted values at 1 - alpha; None if they are too few."""
    low, high = quantile_ranks(len(values), quantile, alpha)
    return None if low is None or high is None else (float(values[low]), float(values[high]))


def samples_for_quantile(quantile: float) -> int:
    """Return how many samples a quantile needs before any sample can lie above it for sure."""
    return max(1, math.ceil(math.log(ALPHA / 2) / math.log(quantile))) if quantile < 1 else 1


def samples_to_tell(share: float, limit: float) -> int | None:
    """Return about how many samples would tell a true share from its limit; None if they are the same."""
    if share == limit:
        return None
    widest = max(share * (1 - share), limit * (1 - limit))
    return max(samples_for_share(limit), math.ceil(Z * Z * widest / (share - limit) ** 2))


def samples_for_share(limit: float) -> int:
    """Return how many samples without a hit show that a share is at most `limit`."""
    if limit <= 0 or limit >= 1:
        return 1
    return math.ceil(math.log(ALPHA / 2) / math.log(1 - limit))
