"""Throughput, errors, and arrivals that found no free user."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.model import Span, Status
from chaos.testing import RecordingBuilder, check_gate
from gates.errors import Errors
from gates.throughput import Throughput
from gates.traffic import dropped, inside, traffic


def built(**fault: float):
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1"):
        builder.traffic(4, **fault)
    builder.traffic(4)
    return builder.build()


@pytest.mark.parametrize("gate", [Throughput(floor_per_s=10), Throughput(floor_share=0.5), Errors(limit_share=0.5)])
def test_they_do_what_every_gate_must(gate):
    check_gate(gate)


# ---------------------------------------------------------------- throughput


def test_throughput_at_its_floor_passes():
    verdict = Throughput(floor_per_s=150).judge(built())
    assert verdict.status is Status.PASS
    assert verdict.numbers["value_per_s"] == pytest.approx(200, rel=0.02)


def test_throughput_below_its_floor_fails():
    verdict = Throughput(floor_per_s=150).judge(built(unknown_share=0.5))
    assert verdict.status is Status.FAIL


def test_a_floor_may_be_a_share_of_the_run_s_own_steady_window():
    assert Throughput(floor_share=0.6).judge(built(rate_per_s=100)).status is Status.FAIL
    verdict = Throughput(floor_share=0.4).judge(built(rate_per_s=100))
    assert verdict.status is Status.PASS
    assert "(40 % of steady)" in verdict.summary


def test_answers_that_are_errors_are_no_throughput():
    assert Throughput(floor_share=0.5).judge(built(failed_share=0.9)).status is Status.FAIL


def test_throughput_cannot_tell_without_a_steady_window_to_compare_with():
    builder = RecordingBuilder()
    with builder.fault("cut", "etcd1"):
        builder.traffic(4)
    verdict = Throughput(floor_share=0.5).judge(builder.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert "nothing to compare with" in verdict.summary


def test_throughput_cannot_tell_of_a_window_that_is_one_hiccup_long():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1"):
        builder.traffic(0.5)
    builder.traffic(1)
    assert Throughput(floor_per_s=1).judge(builder.build()).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    "settings", [{}, {"floor_per_s": 1, "floor_share": 0.5}, {"floor_share": 0.5, "during": Span.STEADY}]
)
def test_a_floor_must_be_said_in_one_way_that_means_something(settings):
    with pytest.raises(ValueError, match=r"^floor: "):
        Throughput(**settings)


# ---------------------------------------------------------------- errors


def test_errors_below_the_limit_pass():
    verdict = Errors(limit_share=0.01).judge(built())
    assert verdict.status is Status.PASS
    assert verdict.numbers["n"] == 800
    assert verdict.numbers["high_share"] < 0.01


@pytest.mark.parametrize("kind", ["unknown_share", "failed_share", "dropped_share"])
def test_errors_of_every_kind_above_the_limit_fail(kind):
    verdict = Errors(limit_share=0.05).judge(built(**{kind: 0.2}))
    assert verdict.status is Status.FAIL
    assert verdict.numbers[kind.removesuffix("_share")] > 100


def test_errors_too_near_the_limit_cannot_be_told_and_say_how_many_samples_would():
    verdict = Errors(limit_share=0.2).judge(built(unknown_share=0.19))
    assert verdict.status is Status.INCONCLUSIVE
    assert "operations would tell" in verdict.summary


def test_a_limit_of_zero_means_none_at_all():
    assert Errors(limit_share=0).judge(built()).status is Status.PASS
    assert Errors(limit_share=0).judge(built(unknown_share=0.01)).status is Status.FAIL


def test_a_limit_of_zero_needs_operations_enough_to_mean_none():
    few = Errors(limit_share=0).judge(built(rate_per_s=5))
    assert few.status is Status.INCONCLUSIVE
    assert "368 operations would tell" in few.summary
    assert Errors(limit_share=0).judge(built(rate_per_s=5, unknown_share=0.5)).status is Status.FAIL


def test_errors_of_a_window_in_which_nothing_was_offered_cannot_be_told():
    verdict = Errors(limit_share=0.01).judge(built(rate_per_s=0))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.numbers["needed"] == 368


def test_a_limit_of_everything_is_refused():
    with pytest.raises(ValueError, match=r"^limit: "):
        Errors(limit_share=1.0)


# ---------------------------------------------------------------- traffic


def test_drops_in_a_second_that_touches_a_fault_belong_to_the_fault():
    builder = RecordingBuilder()
    builder.traffic(3.5)
    with builder.fault("cut", "etcd1"):
        builder.traffic(2.2, dropped_share=0.5)
    builder.traffic(3)
    recording = builder.build()
    assert dropped(recording, Span.STEADY) == dropped(recording, Span.RECOVERY) == 0
    assert dropped(recording, Span.FAULT) == dropped(recording, Span.RUN) == recording.ends["kv-0"].dropped > 0


def test_drops_that_only_the_closing_count_knows_are_not_forgotten():
    builder = RecordingBuilder()
    builder.traffic(3)
    recording = builder.build()
    object.__setattr__(recording.ends["kv-0"], "dropped", 7)
    assert traffic(recording, Span.RUN).n == 607


@settings(deadline=None)
@given(
    times=st.lists(st.integers(0, 50)),
    edges=st.lists(st.integers(0, 50), unique=True, max_size=12).map(sorted),
)
def test_inside_agrees_with_looking_at_each_span(times, edges):
    import numpy as np

    spans = list(zip(edges[::2], edges[1::2], strict=False))
    expected = [any(start <= time < end for start, end in spans) for time in times]
    assert inside(np.array(times, dtype=np.int64), spans).tolist() == expected
