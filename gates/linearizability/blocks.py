"""The fast path: registers whose read values have one writer each, decided by sorting.

    cluster   a write and the gets that read it            W a ├──┤  R a ├───┤
    block     clusters joined by swaps: put a, swap a→b    all its operations take effect side by side
    zone      from f, the least return in a block, to s, its greatest call

    f < s: forward, the block certainly spans [f, s]       f ├━━━━━━━━━┤ s
    s ≤ f: backward, it fits into any point of [s, f]      s ┆·····┆ f
    illegal iff two blocks have f_a < s_b and f_b < s_a: each has to come before the other

After Gibbons & Korach, Testing Shared Memories, SIAM J. Comput. 26(4), 1997, section 4 (a read-mapping given by unique
values), extended here by writes of unknown outcome, an initial null, and compare-and-swap. O(n log n).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gates.linearizability.history import CAS, GET, Bools, Ints, short
from gates.linearizability.result import Violation
from gates.linearizability.roles import BEFORE_TIME, NONE, Roles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clusters:
    """Every effective write, then the null of every key; and who is a member of which.

    writer: cluster → row (NONE: null). key: cluster → key. root, depth: of the cluster in its chain of swaps.
    row, cluster, writes: one entry a member (a write is a member of its own cluster).
    """

    roles: Roles
    writer: Ints
    key: Ints
    of_pair: Ints
    root: Ints
    depth: Ints
    row: Ints
    cluster: Ints
    writes: Bools

    def call(self) -> Ints:
        """Return members' calls, as ranks."""
        return self.roles.call[self.row]

    def returned(self) -> Ints:
        """Return members' returns, as ranks."""
        return self.roles.returned[self.row]

    def value(self, cluster: int) -> str:
        """Say which value a cluster is about."""
        history, row = self.roles.history, int(self.writer[cluster])
        return "null" if row == NONE else short(history.operation(row).value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zones:
    """One entry a block: its root cluster, its key, its zone as ranks, and where its members lie in `order`."""

    block: Ints
    key: Ints
    f: Ints
    s: Ints
    order: Ints
    start: Ints


def violation(roles: Roles, fast: Bools) -> tuple[Violation | None, Clusters | None, Zones | None]:
    """Decide the keys of `fast` (a mask over keys), refused swaps apart.

    Returns a violation, or the clusters and zones of a legal history.
    """
    effective, nowhere = _effective(roles, fast)
    if nowhere is not None:
        return nowhere, None, None
    clusters, parent = _clusters(roles, fast, effective)
    clusters, broken = _chained(clusters, parent)
    if broken is None:
        broken, zones = _zones(clusters)
        if broken is None:
            broken = _conflict(clusters, zones)
        if broken is None:
            return None, clusters, zones
    return broken, None, None


# ---------------------------------------------------------------- which writes took effect


def _effective(roles: Roles, fast: Bools) -> tuple[Bools, Violation | None]:
    """Return the writes that certainly took effect: ok ones, and unknown ones that somebody certainly saw.

    An unknown swap that took effect has itself seen what it expected, hence the walk back along the swaps.
    """
    here = fast[roles.history.key]
    effective = here & roles.ok & (roles.written != NONE)
    seen = np.zeros(roles.pairs, dtype=np.bool_)
    seen[roles.read[here & roles.ok & (roles.read != NONE)]] = True
    is_null = np.zeros(roles.pairs, dtype=np.bool_)
    is_null[roles.null] = True
    unsure = here & ~roles.ok & (roles.written != NONE)
    todo = np.flatnonzero(unsure & seen[roles.written]).tolist()
    effective[todo] = True
    while todo:
        row = todo.pop()
        expected = int(roles.read[row])
        if expected == NONE or is_null[expected]:
            continue
        source = int(roles.writer[expected])
        if source == NONE:
            return effective, _from_nowhere(roles, row)
        if not effective[source]:
            effective[source] = True
            todo.append(source)
    return effective, None


def _from_nowhere(roles: Roles, row: int) -> Violation:
    h = roles.history
    reader = np.flatnonzero(roles.ok & (roles.read == roles.written[row]))[:1]
    swap = h.operation(row)
    reason = f"{short(swap.value)} was seen, so {swap} took effect, but nothing wrote {short(swap.expect)}"
    return Violation(key=int(h.key[row]), reason=reason, rows=np.unique([row, *reader]))


def _clusters(roles: Roles, fast: Bools, effective: Bools) -> tuple[Clusters, Ints]:
    """Return the clusters, not yet chained, and each one's parent (the cluster that its swap expects, or NONE)."""
    h, writer = roles.history, np.flatnonzero(effective)
    keys = np.arange(len(h.keys))
    of_pair = np.full(roles.pairs, NONE, dtype=np.int64)
    of_pair[roles.written[writer]] = np.arange(len(writer))
    of_pair[roles.null] = len(writer) + keys
    gets = np.flatnonzero(fast[h.key] & (h.op == GET) & (roles.read != NONE))
    swaps = h.op[writer] == CAS
    parent = np.full(len(writer) + len(keys), NONE, dtype=np.int64)
    parent[: len(writer)][swaps] = of_pair[roles.read[writer[swaps]]]
    clusters = Clusters(
        roles=roles,
        writer=np.concatenate([writer, np.full(len(keys), NONE)]),
        key=np.concatenate([h.key[writer], keys]),
        of_pair=of_pair,
        root=np.arange(len(parent)),
        depth=np.zeros(len(parent), dtype=np.int64),
        row=np.concatenate([writer, gets]),
        cluster=np.concatenate([np.arange(len(writer)), of_pair[roles.read[gets]]]),
        writes=np.arange(len(writer) + len(gets)) < len(writer),
    )
    return clusters, parent


# ---------------------------------------------------------------- chains of swaps


def _chained(clusters: Clusters, parent: Ints) -> tuple[Clusters, Violation | None]:
    """Follow every swap to the put, or the null, at the root of its chain."""
    swaps = np.flatnonzero(parent != NONE)
    if not len(swaps):
        return clusters, None
    expected, count = np.unique(parent[swaps], return_counts=True)
    if (twice := np.flatnonzero(count > 1)).size:
        return clusters, _two_swaps(clusters, parent, int(expected[twice[0]]))
    root, depth = np.where(parent == NONE, np.arange(len(parent)), parent), (parent != NONE).astype(np.int64)
    for _ in range(len(parent).bit_length()):  # pointer doubling: each round follows twice as many swaps
        depth, root = depth + depth[root], root[root]
    if (endless := np.flatnonzero(parent[root] != NONE)).size:
        return clusters, _cycle(clusters, parent, int(endless[0]))
    return replace(clusters, root=root, depth=depth), None


def _seen_by(clusters: Clusters, rows: list[int]) -> list[int]:
    """Return, for every unknown write among the rows, one operation that proves that it took effect."""
    roles, seers = clusters.roles, []
    for row in rows:
        if not roles.ok[row]:
            seen = np.flatnonzero(roles.read == roles.written[row])
            seers += seen[np.argsort(~roles.ok[seen], kind="stable")][:1].tolist()
    return seers


def _two_swaps(clusters: Clusters, parent: Ints, expected: int) -> Violation:
    rows = clusters.writer[np.flatnonzero(parent == expected)[:2]].tolist()
    value = clusters.value(expected)
    reason = f"two swaps both found {value}, which was written once; the first of them ended it"
    rows += _seen_by(clusters, rows)
    return _violation(clusters, expected, reason, [*rows, int(clusters.writer[expected])])


def _cycle(clusters: Clusters, parent: Ints, start: int) -> Violation:
    for _ in range(len(parent)):  # walk into the cycle
        start = int(parent[start])
    ring = [start]
    while (after := int(parent[ring[-1]])) != start:
        ring.append(after)
    reason = f"{len(ring)} swaps each expect what another of them wrote; none can have been the first"
    rows = clusters.writer[ring[:6]].tolist()
    return _violation(clusters, start, reason, rows + _seen_by(clusters, rows[:1]))


def _violation(clusters: Clusters, cluster: int, reason: str, rows: list[int]) -> Violation:
    distinct = np.unique([row for row in rows if row != NONE])
    return Violation(key=int(clusters.key[cluster]), reason=reason, rows=distinct)


# ---------------------------------------------------------------- zones


def _zones(clusters: Clusters) -> tuple[Violation | None, Zones]:
    """Return every block's zone, or an operation that returned before something that its chain puts first."""
    roles, members = clusters.roles, clusters.cluster
    block, group = clusters.root[members], 2 * clusters.depth[members] + ~clusters.writes
    width = int(group.max(initial=0)) + 1
    place = block * width + group
    order = np.argsort(place, kind="stable")
    place, block = place[order], block[order]
    call, returned = clusters.call()[order], clusters.returned()[order]
    groups = _starts(place)
    broken = _out_of_order(clusters, order, groups) if len(order) else None
    starts = _starts(block)
    roots = block[starts]
    null = clusters.writer[roots] == NONE
    f = np.minimum.reduceat(returned, starts) if len(order) else block
    s = np.maximum.reduceat(call, starts) if len(order) else block
    f = np.where(null, BEFORE_TIME, f)
    assert roles.forever > s.max(initial=0), "every call is before NEVER"
    return broken, Zones(block=roots, key=clusters.key[roots], f=f, s=s, order=order, start=starts)


def _starts(labels: Ints) -> Ints:
    """Return where each run of equal labels starts."""
    return np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]]) if len(labels) else np.empty(0, dtype=np.int64)


def _out_of_order(clusters: Clusters, order: Ints, groups: Ints) -> Violation | None:
    """Find an operation that returned before the call of one that an earlier group of its block holds."""
    block, call, returned = clusters.root[clusters.cluster[order]], clusters.call()[order], clusters.returned()[order]
    serial = np.cumsum(np.r_[False, block[1:] != block[:-1]])[groups] * (clusters.roles.forever + 1)
    latest = np.maximum.accumulate(np.maximum.reduceat(call, groups) + serial)
    earliest = np.minimum.reduceat(returned, groups) + serial
    wrong = np.flatnonzero(earliest[1:] < latest[:-1]) + 1  # another block's `latest` is smaller than this serial
    wrong = wrong[block[groups[wrong]] == block[groups[wrong] - 1]]
    if not wrong.size:
        return None
    at = int(groups[wrong[0]])
    end = int(groups[wrong[0] + 1]) if wrong[0] + 1 < len(groups) else len(order)
    begin = int(np.searchsorted(block, block[at]))
    early, late = order[at + int(returned[at:end].argmin())], order[begin + int(call[begin:at].argmax())]
    return _too_early(clusters, int(early), int(late))


def _too_early(clusters: Clusters, early: int, late: int) -> Violation:
    operation = clusters.roles.history.operation
    first, second = operation(int(clusters.row[early])), operation(int(clusters.row[late]))
    reason = f"{first} returned before {second} was called, which has to come first"
    rows = [int(clusters.row[m]) for m in (early, late)]
    rows += [int(clusters.writer[clusters.cluster[m]]) for m in (early, late)]
    return _violation(clusters, int(clusters.cluster[early]), reason, rows)


def _conflict(clusters: Clusters, zones: Zones) -> Violation | None:
    """Find two blocks of one key of which each has to come before the other."""
    width = clusters.roles.forever + 1
    forward = np.flatnonzero(zones.f < zones.s)
    forward = forward[np.argsort(zones.key[forward] * width + zones.f[forward], kind="stable")]
    key, f, s = zones.key[forward], zones.f[forward], zones.s[forward]
    overlap = np.flatnonzero((key[1:] == key[:-1]) & (f[1:] < s[:-1]))
    if overlap.size:
        first = overlap[np.argmin(f[overlap + 1])]
        return _two_blocks(clusters, zones, int(forward[first]), int(forward[first + 1]))
    backward = np.flatnonzero(zones.f >= zones.s)
    around = np.searchsorted(key * width + f, zones.key[backward] * width + zones.s[backward]) - 1
    backward, around = backward[around >= 0], around[around >= 0]
    inside = np.flatnonzero((key[around] == zones.key[backward]) & (zones.f[backward] < s[around]))
    if inside.size:
        first = inside[np.argmin(zones.s[backward[inside]])]
        return _two_blocks(clusters, zones, int(forward[around[first]]), int(backward[first]))
    return None


def _two_blocks(clusters: Clusters, zones: Zones, a: int, b: int) -> Violation:
    """Name the two operations by which a precedes b, and the two by which b precedes a."""
    ends = [_ends(clusters, zones, block) for block in (a, b)]
    members = [member for pair in ends for member in pair if member is not None]
    rows = [int(clusters.row[m]) for m in members] + [int(clusters.writer[clusters.cluster[m]]) for m in members]
    names = [clusters.value(int(zones.block[block])) for block in (a, b)]
    reason = (
        f"{names[0]} has to come before {names[1]} ({_before(clusters, ends[0][0], ends[1][1])}), "
        f"and {names[1]} before {names[0]} ({_before(clusters, ends[1][0], ends[0][1])})"
    )
    return _violation(clusters, int(zones.block[a]), reason, rows)


def _ends(clusters: Clusters, zones: Zones, block: int) -> tuple[int | None, int]:
    """Return the members with the block's least return (None: its null, from before time) and greatest call."""
    start = int(zones.start[block])
    end = int(zones.start[block + 1]) if block + 1 < len(zones.start) else len(zones.order)
    members = zones.order[start:end]
    first = int(members[clusters.returned()[members].argmin()])
    is_null = clusters.writer[zones.block[block]] == NONE
    return None if is_null else first, int(members[clusters.call()[members].argmax()])


def _before(clusters: Clusters, first: int | None, then: int | None) -> str:
    operation = clusters.roles.history.operation
    later = operation(int(clusters.row[then])) if then is not None else "it"
    if first is None:
        return f"{later} was called after the start"
    return f"{operation(int(clusters.row[first]))} returned before {later} was called"
