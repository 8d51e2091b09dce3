"""What the charts show: a million operations as a thousand buckets of time.

    operations   ·· ·  ··· · ·x ··  ·?··· ·     ok, failed (x), unknown (?)
    buckets     |     |     |     |     |     served, failed, unknown a second; p50 and p99 of what was served

Answers are counted when they came; what was not served, and every latency, belongs to the moment at which it was meant
to be sent. Times are seconds from t = 0, the moment at which the load had reached its hold. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chaos.clock import NS
from chaos.model import EventKind, Outcome
from chaos.streams import NEVER_NS, as_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.model import Event
    from chaos.recording import Recording

Array = np.ndarray[Any, Any]

BUCKETS_MAX = 900  # as many as a wide screen has room for
OPERATIONS_MIN = 100  # in a bucket, on average, as far as a quarter of a second allows: fewer have no p99
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
ERRORS_SHOWN = 6  # kinds of errors with a colour of their own
TAIL = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Numbers per bucket, all of one length; `t` is each bucket's middle. Rates are per second, latencies in ms.

    Buckets are `bucket_s` long, the last one `last_s`: it takes what is left over.

    `never`: more than 1 % of what was offered was not served, so that its p99 is infinite. Null latency: none served.
    """

    bucket_s: float
    last_s: float
    t: Sequence[float]
    served: Sequence[float]
    failed: Sequence[float]
    unknown: Sequence[float]
    p50_ms: Sequence[float | None]
    p99_ms: Sequence[float | None]
    never: Sequence[int]
    errors: Mapping[str, Sequence[float]]  # kind → rate, the most frequent first; dropped arrivals among them


def origin_ns(recording: Recording) -> int:
    """Return t = 0 on the recording's clock; of a run that never got there, its first event."""
    if recording.windows.run is not None:
        return recording.windows.run[0]
    return min((event.at_ns for event in recording.events), default=0)


def series(recording: Recording) -> Series | None:
    """Return the series of a recording's traffic; None if no operation was recorded."""
    if recording.samples.num_rows == 0:
        return None
    intended, returned, outcome = recording.columns("intended_ns", "return_ns", "outcome")
    edges, length_ns = _edges(origin_ns(recording), intended, returned)
    meant, served = _bucket(intended, edges), outcome == Outcome.OK
    p50, p99, never = _latencies(meant, (returned - intended) / 1e6, served, len(edges) - 1)
    return Series(
        bucket_s=length_ns / NS,
        last_s=float(edges[-1] - edges[-2]) / NS,
        t=_rounded((edges[:-1] + length_ns / 2 - origin_ns(recording)) / NS, 4),
        served=_rates(_bucket(returned[served], edges), edges),
        failed=_rates(meant[outcome == Outcome.FAILED], edges),
        unknown=_rates(meant[outcome == Outcome.UNKNOWN], edges),
        p50_ms=_or_none(p50),
        p99_ms=_or_none(p99),
        never=[int(one) for one in never],
        errors=_errors(recording, meant, edges),
    )


# ---------------------------------------------------------------- buckets


def bucket_s(length_s: float, operations: int) -> float:
    """Return the shortest round length that needs at most BUCKETS_MAX buckets, fitting OPERATIONS_MIN if it can."""
    least = min(0.25, OPERATIONS_MIN * length_s / max(operations, 1), length_s / 20)
    return next((s for s in BUCKETS_S if s >= least and length_s / s <= BUCKETS_MAX), length_s / BUCKETS_MAX)


def _edges(origin: int, intended: Array, returned: Array) -> tuple[Array, int]:
    """Return the buckets' edges and their length in ns. t = 0 is an edge; the last takes what is left over."""
    came = returned[returned != NEVER_NS]
    first, last = int(intended.min()), int(max(intended.max(), came.max(initial=0)))
    length_ns = max(1, round(bucket_s((last - first) / NS, len(intended)) * NS))
    before, after = -((first - origin) // length_ns), (last - origin) // length_ns
    edges = origin + length_ns * np.arange(-before, max(after, 1 - before) + 1, dtype=np.int64)
    if last - edges[-1] >= length_ns // 2:
        return np.append(edges, last + 1), length_ns
    edges[-1] = max(edges[-1], last + 1)
    return edges, length_ns


def _bucket(times_ns: Array, edges: Array) -> Array:
    """Return each time's bucket; -1 and len(edges) - 1 are outside."""
    found: Array = np.searchsorted(edges, times_ns, side="right") - 1
    return found


def _counts(buckets: Array, count: int) -> Array:
    counted: Array = np.bincount(buckets + 1, minlength=count + 2)[1 : count + 1]
    return counted


def _rates(buckets: Array, edges: Array) -> list[float]:
    return _per_second(_counts(buckets, len(edges) - 1), edges)


def _per_second(counts: Array, edges: Array) -> list[float]:
    return _rounded(counts * NS / np.diff(edges), 3)


def _latencies(meant: Array, latency_ms: Array, served: Array, count: int) -> tuple[Array, Array, Array]:
    """p50 and p99 (nearest rank) of what was served, and where the p99 of all that was offered is infinite."""
    ok, offered = _counts(meant[served], count), _counts(meant, count)
    order = np.lexsort((latency_ms[served], meant[served]))
    ordered = latency_ms[served][order]
    starts = np.searchsorted(meant[served][order], np.arange(count))
    quantiles = [_at_rank(ordered, starts, ok, share) for share in (0.5, TAIL)]
    return quantiles[0], quantiles[1], np.ceil(offered * TAIL) > ok


def _at_rank(ordered: Array, starts: Array, counts: Array, share: float) -> Array:
    found = np.full(len(counts), np.nan)
    some = counts > 0
    found[some] = ordered[(starts + np.maximum(np.ceil(counts * share), 1).astype(np.int64) - 1)[some]]
    return found


# ---------------------------------------------------------------- errors


def _errors(recording: Recording, meant: Array, edges: Array) -> dict[str, list[float]]:
    """Rates by kind of error; what is rare is put together."""
    count = len(edges) - 1
    wrong = pc.not_equal(recording.samples["outcome"], int(Outcome.OK))
    at = meant[as_numpy(wrong.cast(pa.int8())) == 1]
    by_kind = {kind: _counts(at[chosen], count) for kind, chosen in _kinds(recording.samples.filter(wrong))}
    dropped = _dropped(recording.events, edges)
    if dropped.any():
        by_kind["dropped: no client was free"] = dropped
    ranked = sorted(by_kind, key=lambda kind: -int(by_kind[kind].sum()))
    shown = {kind: by_kind[kind] for kind in ranked[:ERRORS_SHOWN]}
    if rest := ranked[ERRORS_SHOWN:]:
        shown[f"{len(rest)} other kinds"] = np.sum([by_kind[kind] for kind in rest], axis=0)
    return {kind: _per_second(counts, edges) for kind, counts in shown.items()}


def _kinds(wrong: pa.Table) -> Iterator[tuple[str, Array]]:
    """Each kind of error, as its outcome and what the client said, and which rows are of it."""
    if not wrong.num_rows:
        return
    outcome, said = as_numpy(wrong["outcome"]), as_numpy(wrong["error"])
    for one in (Outcome.FAILED, Outcome.UNKNOWN):
        for error in sorted({str(text) for text in said[outcome == one]}):
            yield f"{one.name.lower()}: {error}" if error else one.name.lower(), (outcome == one) & (said == error)


def _dropped(events: Sequence[Event], edges: Array) -> Array:
    """Arrivals that found no free client, at the moment in which the generator said so."""
    said = [event.data for event in events if event.kind is EventKind.LOAD and "at_ns" in event.data]
    times = np.array([data["at_ns"] for data in said], dtype=np.int64)
    more = np.diff(np.array([data.get("dropped", 0) for data in said], dtype=np.int64), prepend=0)
    count = len(edges) - 1
    found = np.zeros(count, dtype=np.int64)
    np.add.at(found, np.clip(_bucket(times, edges), 0, count - 1)[more > 0], more[more > 0])
    return found


# ---------------------------------------------------------------- numbers for JSON


def _rounded(values: Array, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]


def _or_none(values: Array) -> list[float | None]:
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]
