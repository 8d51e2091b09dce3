from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.intervals import quantile_ranks, samples_for_quantile, samples_to_tell, share_interval
from chaos.model import Span, Status
from chaos.testing import RecordingBuilder, check_gate
from gates.latency import Latency


def judged(gate: Latency, **traffic: float):
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1"):
        builder.traffic(4, **traffic)
    builder.traffic(4)
    return gate.judge(builder.build())


def test_it_does_what_every_gate_must():
    check_gate(Latency(limit_s=0.4))


def test_a_fast_fault_window_passes_with_its_numbers():
    verdict = judged(Latency(limit_s=0.4))
    assert verdict.status is Status.PASS
    assert verdict.numbers["value_s"] == pytest.approx(0.005)
    assert verdict.numbers["n"] == 800
    assert "p99 during fault: 5 ms, limit 400 ms (n = 800)" in verdict.summary


def test_a_slow_fault_window_fails():
    verdict = judged(Latency(limit_s=0.4), latency_s=0.5)
    assert verdict.status is Status.FAIL
    assert not verdict.certain


def test_only_its_own_window_counts():
    assert judged(Latency(limit_s=0.4, during=Span.STEADY), latency_s=9).status is Status.PASS


@pytest.mark.parametrize("kind", ["unknown_share", "failed_share", "dropped_share"])
def test_what_was_not_served_took_for_ever(kind):
    verdict = judged(Latency(limit_s=0.4), **{kind: 0.2})
    assert verdict.status is Status.FAIL
    assert "never answered" in verdict.summary
    assert verdict.numbers["value_s"] is None


def test_a_stall_is_counted_from_the_intended_time():
    builder = RecordingBuilder()
    sent = builder.clock.now_ns()
    for place in range(500):  # all meant for the first second, all sent after a stall of two, answered at once
        builder.sample(intended_ns=sent + place * 2_000_000, call_ns=sent + 2 * 10**9, return_ns=sent + 2 * 10**9 + 1)
    builder.traffic(3)
    assert Latency(limit_s=0.5, during=Span.RUN).judge(builder.build()).status is Status.FAIL


def test_too_few_samples_cannot_tell_and_say_how_many_are_needed():
    builder = RecordingBuilder(rate_per_s=50)
    builder.traffic(4)
    verdict = Latency(limit_s=0.4, during=Span.STEADY).judge(builder.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.numbers == {"n": 200, "needed": 368}
    assert "200 operations during steady, p99 needs at least 368" in verdict.summary


def test_a_greater_minimum_may_be_asked_for():
    verdict = judged(Latency(limit_s=0.4, samples_min=1000))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.numbers["needed"] == 1000


def test_a_limit_within_the_interval_cannot_be_told():
    verdict = judged(Latency(limit_s=0.4), unknown_share=0.01)
    assert verdict.status is Status.INCONCLUSIVE
    assert "around the limit 400 ms" in verdict.summary


def test_no_fault_no_answer():
    builder = RecordingBuilder()
    builder.traffic(4)
    verdict = Latency(limit_s=0.4).judge(builder.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert "no fault was in force" in verdict.summary


@pytest.mark.parametrize(
    ("settings", "key"), [({"limit_s": 0}, "limit"), ({"limit_s": 1, "percentile": 100}, "percentile")]
)
def test_settings_that_make_no_sense_are_refused_at_their_key(settings, key):
    with pytest.raises(ValueError, match=f"^{key}: "):
        Latency(**settings)


# ---------------------------------------------------------------- intervals


@settings(deadline=None)
@given(n=st.integers(1, 400), quantile=st.sampled_from([0.5, 0.9, 0.99]))
def test_ranks_enclose_the_quantile_as_often_as_they_promise(n, quantile):
    from scipy.stats import binom

    low, high = quantile_ranks(n, quantile)
    below = binom.cdf(low, n, quantile) if low is not None else 0
    above = 1 - binom.cdf(high, n, quantile) if high is not None else 0
    assert below <= 0.025
    assert above <= 0.025 + 1e-12
    assert (high is not None) == (n >= samples_for_quantile(quantile))


@settings(deadline=None)
@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_a_share_s_interval_is_clopper_and_pearson_s(n, share):
    from scipy.stats import binomtest

    hits = round(share * n)
    expected = binomtest(hits, n).proportion_ci(method="exact")
    assert share_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_more_samples_are_needed_the_nearer_the_limit():
    assert samples_to_tell(0.009, 0.01) > samples_to_tell(0.005, 0.01)
    assert samples_to_tell(0.01, 0.01) is None
    assert share_interval(0, 0) == (0.0, 1.0)
    assert quantile_ranks(0, 0.99) == (None, None)
