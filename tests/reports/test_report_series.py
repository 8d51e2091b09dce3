"""Buckets, quantiles and errors of the report's charts, against counts made the slow way."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.clock import NS, ns
from chaos.model import EventKind, Outcome
from chaos.recording import Recording
from chaos.testing import RecordingBuilder
from reports.series import BUCKETS_MAX, ERRORS_SHOWN, bucket_s, series


def total(found, rates):
    return round(sum(rates[:-1]) * found.bucket_s + rates[-1] * found.last_s)


def made(*rows, for_s=10.0):
    """Make a recording of operations at given seconds from t = 0, each with its latency in ms and its outcome."""
    builder = RecordingBuilder()
    zero = builder.clock.now_ns()
    for at_s, latency_ms, outcome, *error in rows:
        call_ns = zero + ns(at_s)
        text = error[0] if error else ""
        builder.sample(call_ns=call_ns, return_ns=call_ns + ns(latency_ms / 1000), outcome=outcome, error=text)
    builder.clock.advance(for_s)
    return builder.build()


def test_a_recording_without_operations_has_no_series():
    assert series(Recording.of()) is None


operation = st.tuples(
    st.integers(0, 8999).map(lambda n: (n + 0.5) / 1000),  # on no edge
    st.floats(0.1, 900, allow_nan=False),
    st.sampled_from(list(Outcome)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(operation, min_size=1, max_size=120))
def test_no_operation_is_lost_or_counted_twice(rows):
    found = series(made(*rows))
    by_outcome = [sum(row[2] is outcome for row in rows) for outcome in Outcome]
    assert [total(found, rates) for rates in (found.served, found.failed, found.unknown)] == by_outcome
    assert sum(total(found, rates) for rates in found.errors.values()) == by_outcome[1] + by_outcome[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(operation, min_size=1, max_size=120))
def test_quantiles_are_the_nearest_rank_of_what_was_served(rows):
    found = series(made(*rows))
    half = found.bucket_s / 2
    for place, middle in enumerate(found.t):
        end = math.inf if place == len(found.t) - 1 else middle + half
        served = sorted(row[1] for row in rows if middle - half <= row[0] < end and row[2] is Outcome.OK)
        if not served:
            assert found.p99_ms[place] is None
        else:
            assert found.p50_ms[place] == pytest.approx(served[math.ceil(len(served) * 0.5) - 1], abs=0.002)
            assert found.p99_ms[place] == pytest.approx(served[math.ceil(len(served) * 0.99) - 1], abs=0.002)


def test_a_bucket_in_which_too_many_were_not_served_has_an_infinite_p99():
    calm = [(0.001 * n, 5, Outcome.OK) for n in range(200)]
    stormy = [(5 + 0.001 * n, 5, Outcome.UNKNOWN if n < 4 else Outcome.OK) for n in range(200)]
    found = series(made(*calm, *stormy))
    marked = {t for t, never in zip(found.t, found.never, strict=True) if never}
    assert marked
    assert all(4.9 < t < 5.4 for t in marked)


def test_an_outage_is_charged_to_the_moment_at_which_operations_were_meant_to_go():
    late = RecordingBuilder()
    zero = late.clock.now_ns()
    late.sample(intended_ns=zero + ns(1), call_ns=zero + ns(6), return_ns=zero + ns(6.01))
    late.clock.advance(10)
    found = series(late.build())
    slow = [t for t, p99 in zip(found.t, found.p99_ms, strict=True) if p99 is not None]
    assert slow == [pytest.approx(1, abs=found.bucket_s)]
    assert max(p99 for p99 in found.p99_ms if p99 is not None) == pytest.approx(5010)


def test_rare_kinds_of_errors_are_put_together():
    rows = [(0.1 * n, 5, Outcome.FAILED, f"kind {k}") for k in range(9) for n in range(k + 1)]
    found = series(made(*rows))
    assert len(found.errors) == ERRORS_SHOWN + 1
    assert next(iter(found.errors)) == "failed: kind 8"
    assert total(found, found.errors["3 other kinds"]) == 1 + 2 + 3


def test_dropped_arrivals_are_errors_that_no_sample_tells_of():
    builder = RecordingBuilder(rate_per_s=100)
    builder.traffic(4, dropped_share=0.5)
    found = series(builder.build())
    said = [event.data["dropped"] for event in builder.events if event.kind is EventKind.LOAD]
    assert total(found, found.errors["dropped: no client was free"]) == said[-1] > 0


def test_t_is_zero_where_the_load_had_reached_its_hold():
    builder = RecordingBuilder()
    builder.sample(call_ns=builder.clock.now_ns() - 2 * NS)
    builder.traffic(3)
    found = series(builder.build())
    assert found.t[0] == pytest.approx(-2 + found.bucket_s / 2, abs=found.bucket_s)
    assert any(math.isclose(t, found.bucket_s / 2, abs_tol=1e-6) for t in found.t)


@given(st.floats(0, 1e7, allow_nan=False), st.integers(0, 10**8))
def test_no_run_needs_more_buckets_than_a_screen_shows(length_s, operations):
    assert length_s / bucket_s(length_s, operations) <= BUCKETS_MAX * (1 + 1e-9)
