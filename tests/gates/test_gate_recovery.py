from __future__ import annotations

import pytest

from chaos.model import Status
from chaos.testing import RecordingBuilder, check_gate
from gates.recovery import Recovery


def judged(gate: Recovery, *after: tuple[float, float], steady_s: float = 4, fault_share: float = 0.9):
    """Steady, a fault of 2 s, then stretches of (seconds, share of operations never answered)."""
    builder = RecordingBuilder()
    builder.traffic(steady_s)
    with builder.fault("kill", "etcd1"):
        builder.traffic(2, unknown_share=fault_share)
    for for_s, unknown_share in after:
        builder.traffic(for_s, unknown_share=unknown_share)
    return gate.judge(builder.build())


def test_it_does_what_every_gate_must():
    check_gate(Recovery(limit_s=5))


def test_traffic_that_is_back_in_time_passes_with_its_numbers():
    verdict = judged(Recovery(limit_s=3), (1.5, 0.9), (6, 0))
    assert verdict.status is Status.PASS
    only = verdict.numbers["occurrences"][0]
    assert only["recovery_s"] == pytest.approx(1.5, abs=0.26)
    assert only["dip_s"] == pytest.approx(3.5, abs=0.5)
    assert only["dip_share"] > 0.7
    assert only["detect_s"] == pytest.approx(0, abs=0.26)


def test_traffic_that_comes_back_too_late_fails():
    verdict = judged(Recovery(limit_s=3), (4.5, 0.9), (6, 0))
    assert verdict.status is Status.FAIL
    assert verdict.numbers["occurrences"][0]["recovery_s"] == pytest.approx(4.5, abs=0.26)


def test_traffic_that_never_comes_back_fails():
    verdict = judged(Recovery(limit_s=3), (8, 0.9))
    assert verdict.status is Status.FAIL
    assert "not back within 3 s after kill#0" in verdict.summary


def test_coming_back_for_a_moment_is_not_recovery():
    assert judged(Recovery(limit_s=2), (0.5, 0.9), (1, 0), (6, 0.9), (4, 0)).status is Status.FAIL


def test_errors_keep_traffic_from_being_normal_though_enough_succeeds():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("kill", "etcd1"):
        builder.traffic(2)
    builder.traffic(8, rate_per_s=400, unknown_share=0.3)
    assert Recovery(limit_s=3).judge(builder.build()).status is Status.FAIL


def test_dropped_arrivals_keep_traffic_from_being_normal_though_enough_succeeds():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("kill", "etcd1"):
        builder.traffic(2)
    builder.traffic(8, rate_per_s=400, dropped_share=0.3)
    assert Recovery(limit_s=3).judge(builder.build()).status is Status.FAIL


def test_drops_of_a_second_that_touches_a_fault_are_not_held_against_recovery():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("kill", "etcd1"):
        builder.traffic(0.5, dropped_share=0.9)
        builder.events.pop()  # the generator speaks again only half a second after the heal
    builder.traffic(0.5)
    builder.traffic(6)
    verdict = Recovery(limit_s=3).judge(builder.build())
    assert verdict.status is Status.PASS
    assert verdict.numbers["value_s"] == 0


@pytest.mark.parametrize("down", [0, 6])
def test_a_healed_fault_that_no_traffic_followed_is_never_passed(down):
    builder = RecordingBuilder()
    builder.traffic(4)
    for occurrence, after_s in enumerate((5 + down, 0)):
        with builder.fault("kill", "etcd1", occurrence=occurrence):
            builder.traffic(1, unknown_share=0.9)
        builder.traffic(down * (not occurrence), unknown_share=0.9)
        builder.traffic(after_s)
    verdict = Recovery(limit_s=3).judge(builder.build())
    assert verdict.status is (Status.FAIL if down else Status.INCONCLUSIVE)
    assert down or "there was no traffic after kill#1" in verdict.summary


def test_a_window_too_short_to_tell_says_how_long_it_must_be():
    verdict = judged(Recovery(limit_s=3), (1, 0.9), (1, 0))
    assert verdict.status is Status.INCONCLUSIVE
    assert "5 s are needed" in verdict.summary
    assert judged(Recovery(limit_s=3), (2, 0.9)).status is Status.INCONCLUSIVE


def test_a_window_that_ends_down_after_the_limit_is_long_enough_to_fail():
    assert judged(Recovery(limit_s=3), (3.5, 0.9)).status is Status.FAIL


def test_service_that_was_back_before_the_fault_ended_recovers_at_once():
    verdict = judged(Recovery(limit_s=1), (4, 0), fault_share=0)
    assert verdict.status is Status.PASS
    assert verdict.numbers["value_s"] == 0
    assert verdict.numbers["occurrences"][0]["detect_s"] is None


def test_the_worst_of_several_faults_counts_and_is_named():
    builder = RecordingBuilder()
    builder.traffic(4)
    for occurrence, down in enumerate((0, 6)):
        with builder.fault("kill", "etcd1", occurrence=occurrence):
            builder.traffic(1, unknown_share=0.9)
        builder.traffic(down, unknown_share=0.9)
        builder.traffic(5)
    verdict = Recovery(limit_s=3).judge(builder.build())
    assert verdict.status is Status.FAIL
    assert verdict.summary.endswith("after kill#1")


def test_without_a_fault_there_is_nothing_to_recover_from():
    builder = RecordingBuilder()
    builder.traffic(8)
    assert Recovery(limit_s=3).judge(builder.build()).status is Status.INCONCLUSIVE


def test_a_steady_window_that_is_uneven_itself_does_not_say_what_normal_is():
    builder = RecordingBuilder()
    for _ in range(4):
        builder.traffic(1)
        builder.traffic(1, unknown_share=0.5)
    with builder.fault("kill", "etcd1"):
        builder.traffic(1)
    builder.traffic(8)
    verdict = Recovery(limit_s=3).judge(builder.build())
    assert verdict.status is Status.INCONCLUSIVE
    assert "of the steady window was normal" in verdict.summary


def test_a_bucket_longer_than_the_hold_is_refused():
    with pytest.raises(ValueError, match=r"^bucket: "):
        Recovery(limit_s=1, bucket_s=3)
