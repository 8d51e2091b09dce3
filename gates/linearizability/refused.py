"""Swaps that were refused: each saw, at some point between its call and its return, another value than it expects.

    state    a         │ b            │ c              segments, in the order that blocks.py found
    refused        ├─expects b─┤                       fits into a's segment
    refused                 ├─b─┤                      b's reads on both sides of it: certainly illegal

Left out of the zones, because "not b" says less than a value. The rest being legal, each is put into the first segment
that it may stand in; one that finds no place proves nothing, and its key is searched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gates.linearizability.history import CAS, Bools, Ints
from gates.linearizability.result import Violation
from gates.linearizability.roles import BEFORE_TIME, NONE

if TYPE_CHECKING:
    from gates.linearizability.blocks import Clusters, Zones

ROUNDS_MAX = 64


def _refused(clusters: Clusters, fast: Bools) -> tuple[Ints, Ints]:
    """Return the rows of refused swaps whose expected value was ever there, and that value's cluster."""
    roles = clusters.roles
    rows = np.flatnonzero((roles.unlike != NONE) & fast[roles.history.key])
    cluster = clusters.of_pair[roles.unlike[rows]]
    return rows[cluster != NONE], cluster[cluster != NONE]


def violation(clusters: Clusters, fast: Bools) -> Violation | None:
    """Find a refused swap that ran wholly while its expected value was certainly there."""
    roles, (rows, expected) = clusters.roles, _refused(clusters, fast)
    if not len(rows):
        return None
    since, until = _certainly_there(clusters)
    wrong = np.flatnonzero((since[expected] < roles.call[rows]) & (roles.returned[rows] < until[expected]))
    if not wrong.size:
        return None
    row, cluster = int(rows[wrong[0]]), int(expected[wrong[0]])
    refused, h = roles.history.operation(row), roles.history
    seers = _seers(clusters, cluster)
    first = seers[roles.returned[seers] == since[cluster]][:1]
    last = seers[roles.call[seers] == until[cluster]][:1]
    reason = f"{refused}, although {clusters.value(cluster)} was there before it was called and after it returned"
    rows = np.concatenate([first, last, [row, clusters.writer[cluster]]])
    return Violation(key=int(h.key[row]), reason=reason, rows=np.unique(rows[rows != NONE]))


def _seers(clusters: Clusters, cluster: int) -> Ints:
    """Return the rows of a cluster's members, and of the swap that ended it."""
    roles, writers = clusters.roles, clusters.writer[clusters.writer != NONE]
    swaps = writers[roles.history.op[writers] == CAS]
    ended = swaps[clusters.of_pair[roles.read[swaps]] == cluster]
    return np.concatenate([clusters.row[clusters.cluster == cluster], ended])


def _certainly_there(clusters: Clusters) -> tuple[Ints, Ints]:
    """Return, per cluster, the rank of its first return and of its last call, the swap away from it included."""
    roles, count = clusters.roles, len(clusters.writer)
    since = np.full(count, roles.forever, dtype=np.int64)
    np.minimum.at(since, clusters.cluster, clusters.returned())
    since[clusters.writer == NONE] = BEFORE_TIME
    until = np.full(count, BEFORE_TIME, dtype=np.int64)
    np.maximum.at(until, clusters.cluster, clusters.call())
    writers = clusters.writer[clusters.writer != NONE]
    swaps = writers[roles.history.op[writers] == CAS]
    np.maximum.at(until, clusters.of_pair[roles.read[swaps]], roles.call[swaps])
    return since, until


def keys_left_over(clusters: Clusters, zones: Zones, fast: Bools) -> Ints:
    """Return the keys on which a refused swap finds no place in the order that the zones give."""
    rows, expected = _refused(clusters, fast)
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    roles = clusters.roles
    key, call, returned = roles.history.key[rows], roles.call[rows], roles.returned[rows]
    segment, value_at = _segments(clusters, zones)
    low, high = _bounds(clusters, segment, key, call, returned)
    by_return = np.argsort(key * (roles.forever + 1) + returned, kind="stable")
    done = (key * (roles.forever + 1) + returned)[by_return]
    earlier = np.searchsorted(done, key * (roles.forever + 1) + call)  # how many returned before this one's call
    place = low
    for _ in range(ROUNDS_MAX):
        place = place + (value_at[np.minimum(place, len(value_at) - 1)] == expected)
        reached = np.r_[BEFORE_TIME, np.maximum.accumulate(place[by_return])][earlier]
        if (reached <= place).all():
            return np.unique(key[place > high])
        place = np.maximum(place, reached)
    return np.unique(key)


def _segments(clusters: Clusters, zones: Zones) -> tuple[Ints, Ints]:
    """Return the order found as numbers, key by key: cluster → segment, and segment → cluster.

    A backward block takes effect at its s, or where the forward zone around that ends.
    """
    width = clusters.roles.forever + 1
    point = np.full(len(clusters.writer), BEFORE_TIME, dtype=np.int64)
    forward = np.zeros(len(clusters.writer), dtype=np.bool_)
    is_forward = zones.f < zones.s
    spans = np.flatnonzero(is_forward)
    spans = spans[np.argsort(zones.key[spans] * width + zones.f[spans], kind="stable")]
    start = zones.s.copy()
    if len(spans):
        around = np.searchsorted(zones.key[spans] * width + zones.f[spans], zones.key * width + zones.s) - 1
        span = spans[np.maximum(around, 0)]
        inside = ~is_forward & (around >= 0) & (zones.key[span] == zones.key) & (zones.s < zones.s[span])
        start[inside] = zones.s[span[inside]]
    point[zones.block] = np.where(is_forward, zones.f, start)
    forward[zones.block] = is_forward
    order = np.lexsort((clusters.depth, clusters.root, forward[clusters.root], point[clusters.root], clusters.key))
    segment = np.empty(len(order), dtype=np.int64)
    segment[order] = np.arange(len(order))
    return segment, order


def _bounds(clusters: Clusters, segment: Ints, key: Ints, call: Ints, returned: Ints) -> tuple[Ints, Ints]:
    """Return the first and the last segment that each refused swap may stand in, by real time alone."""
    width, member_key = clusters.roles.forever + 1, clusters.key[clusters.cluster]
    null = np.flatnonzero(clusters.writer == NONE)
    ended = np.r_[clusters.key[null] * width, member_key * width + clusters.returned()]
    reached = np.r_[segment[null], segment[clusters.cluster]]
    order = np.argsort(ended, kind="stable")
    before = np.searchsorted(ended[order], key * width + call) - 1
    low = np.maximum.accumulate(reached[order])[before]
    begun = member_key * width + clusters.call()
    order = np.argsort(begun, kind="stable")
    limit = (segment[clusters.cluster] - clusters.writes)[order]
    least = np.r_[np.minimum.accumulate(limit[::-1])[::-1], len(segment) - 1]
    high = least[np.searchsorted(begun[order], key * width + returned, side="right")]
    last = np.zeros(len(clusters.roles.history.keys), dtype=np.int64)
    np.maximum.at(last, clusters.key, segment)
    return low, np.minimum(high, last[key])
